"""Pictures and positions out of ROS 1 and ROS 2 recordings, without ROS."""

RECORDING_SUFFIXES = (".mcap", ".db3", ".bag")
