"""The nodes, the bringup and the `dexvla` command."""

import os
from pathlib import Path

# Images do not fit through Fast DDS' default transports; see the file. What the user has set stands.
os.environ.setdefault("FASTRTPS_DEFAULT_PROFILES_FILE", str(Path(__file__).with_name("fastdds_profile.xml")))
