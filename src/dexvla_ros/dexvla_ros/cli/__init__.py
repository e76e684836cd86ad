"""The command `dexvla`: one module per subcommand, with a function of the same name."""
