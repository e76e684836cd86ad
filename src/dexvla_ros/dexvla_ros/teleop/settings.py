"""How teleoperation streams: nearer to the hand than a policy, through the same limiter."""

from dexvla_model.streaming import StreamSettings

# A source's rows are smooth already, so they are followed without blending and with little smoothing; what
# is committed in advance is what the hand has to wait for.
TELEOP_STREAM = StreamSettings(
    commit_lead_s=0.08, blend_s=0.0, window_s=1.5, smoothing_hz=6.0, chunk_age_max_s=0.3
)
