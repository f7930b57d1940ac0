"""Visual place recognition without ROS: networks, maps and the step from pictures to poses."""
