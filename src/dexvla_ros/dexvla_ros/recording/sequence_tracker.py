"""Counts what the middleware lost, by the sequence numbers of the publishers. No ROS."""

# With several publishers a jump further than this is somebody new rather than a loss.
_FURTHEST_LOSS = 1000


class SequenceTracker:
    """Follows the sequence numbers on one topic.

    Each publisher counts its own messages, and they arrive in order; which publisher a message is from is not
    known. A number that goes on where some publisher stopped is that publisher's. Any other is the first one
    of a publisher not seen so far, if there is one; else it belongs to the publisher whose last number is the
    nearest below, and what lies between was lost. A number below all others: a publisher began anew.

    Attributes:
        lost: messages that were published and did not arrive.
    """

    def __init__(self) -> None:
        # The last number of every publisher; whose turn was last stands last.
        self._last: list[int] = []
        self.lost = 0

    def restart(self) -> None:
        """Forget the publishers: what comes next goes on from nothing."""
        self._last.clear()

    def observe(self, sequence: int, publishers: int) -> None:
        """Take the number of a message.

        Args:
            publishers: how many there are on the topic.
        """
        last = self._last
        if len(last) == 1 and last[0] + 1 == sequence:
            last[0] = sequence
            return
        if sequence - 1 in last:
            last.remove(sequence - 1)
        elif last and len(last) >= publishers:
            # Publishers that have left are those that were not heard for the longest time.
            del last[: len(last) - max(1, publishers)]
            nearest = max((number for number in last if number < sequence), default=None)
            if nearest is None or (publishers > 1 and sequence - nearest > _FURTHEST_LOSS):
                del last[0]
            else:
                self.lost += sequence - nearest - 1
                last.remove(nearest)
        last.append(sequence)
