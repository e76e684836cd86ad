"""Every way to end a command, as KeyboardInterrupt: what has been started is then stopped in order."""

import signal


def end_by_keyboard_interrupt() -> None:
    """From now on SIGTERM, and SIGHUP of a closed terminal, end this process as Ctrl-C does."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    # nohup has SIGHUP ignored, and that stands.
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, interrupt)
    # A shell starts background jobs with SIGINT ignored; a graph must be stoppable all the same.
    signal.signal(signal.SIGINT, signal.default_int_handler)
