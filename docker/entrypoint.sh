#!/bin/bash
# What every command in the container finds: ROS, and the workspace with the node.
source "/opt/ros/${ROS_DISTRO}/setup.bash"
source /workspace/install/setup.bash
exec "$@"
