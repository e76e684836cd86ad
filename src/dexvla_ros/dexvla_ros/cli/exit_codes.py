"""What the exit code of `dexvla` means."""

SUCCESS = 0
# It ran, and the robot did not do what it was told in every episode.
TASK_FAILED = 1
# Something in what the user gave is wrong; a sentence on stderr says what.
USER_ERROR = 2
# A node died or did not answer; a sentence on stderr says which one.
GRAPH_FAILED = 3
INTERRUPTED = 130
