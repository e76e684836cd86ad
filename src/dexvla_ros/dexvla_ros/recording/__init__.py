"""Episodes as rosbag2 directories, written so that a crash costs less than a second.

What lies on the disk::

    OUT/episode_000042/
        episode_000042_0.mcap   every message as it came over the wire, in chunks, with its definition
        metadata.yaml           rosbag2, version 9; missing during the recording, or if that was cut off

- A message's *log time* is when it was received, in the node clock (with sim time: in simulated time). Its
  *publish time* is the publisher's own time stamp; with sim time, where that would be of another clock, the
  log time again. Its sequence number is the publisher's, in 32 bits. Header stamps are inside the messages.
- Latched messages (/tf_static) come again at the start of every episode, so that each bag has them.
- `metadata.yaml` holds under `custom_data` what `recording.episode_metadata.EpisodeMetadata` describes. The
  MCAP file holds the same as metadata records named `dexvla_episode`; the last one counts. One is written at
  the start, one at every mark and one at the end, so that also an episode that was cut off says what it is.
- Marks of sub-steps are messages on `recorder/sub_step`, too.

Of its modules only `subscriptions`, `recorder_client`, `operator_session` and the benchmark's import rclpy.
"""
