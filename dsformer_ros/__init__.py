"""The ROS 2 side: messages in, messages out. What it publishes is computed in `dsformer_core`."""
