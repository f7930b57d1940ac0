"""Lets what the core logs appear in the node's own log."""

import logging
from typing import Any


class LogForwarder(logging.Handler):
    """Hands records of Python's logging to a ROS logger."""

    def __init__(self, ros_logger: Any) -> None:
        super().__init__(logging.INFO)
        self._ros_logger = ros_logger

    def emit(self, record: logging.LogRecord) -> None:
        """Logs one record with the level that ROS has for it."""
        # rclpy ties a call site to one level, hence a line for each.
        if record.levelno >= logging.ERROR:
            self._ros_logger.error(record.getMessage())
        elif record.levelno >= logging.WARNING:
            self._ros_logger.warning(record.getMessage())
        else:
            self._ros_logger.info(record.getMessage())
