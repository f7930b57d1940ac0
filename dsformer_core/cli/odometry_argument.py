"""`--odometry`, of all commands that drive through a map."""

import argparse


def add_odometry_argument(group: argparse._ArgumentGroup) -> None:
    """Adds it."""
    group.add_argument(
        "--odometry",
        metavar="FILE|made|none",
        help="RECORDING[:TOPIC] with nav_msgs/Odometry of the vehicle, its covariances used; CSV file with stamp, x, "
        "y, yaw (seconds as the pictures have them, metres, radians); 'made' of the drive's positions, 2 %% off and "
        "0.5 degrees a metre; or 'none' (default: that of the drive, where it is one recording with one such topic "
        "and positions from elsewhere; else made)",
    )
