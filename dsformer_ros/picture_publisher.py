"""A camera for trying things out: publishes the pictures of a folder, one after the other, with stamps of now."""

import argparse
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import rclpy
from PIL import Image as PillowImage
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import remove_ros_args
from sensor_msgs.msg import CompressedImage, Image

from dsformer_core.errors import DsformerError
from dsformer_core.pictures import PictureError, read_picture
from dsformer_core.sources.folder import find_pictures

EXAMPLES = """\
examples:
  picture_publisher drive/                            every picture once, one per second, on image/compressed
  picture_publisher drive/ --rate 5 --loop --topic /front/image/compressed
  picture_publisher one.jpg two.jpg --raw --topic /front/image --ros-args -p use_sim_time:=true
"""

_SETTLE = 0.5

# Where the name says it better than Pillow, which calls some cameras' JPEGs "mpo".
_ENCODINGS = {".jpg": "jpeg", ".jpeg": "jpeg", ".png": "png", ".tif": "tiff", ".tiff": "tiff", ".webp": "webp"}


def build_parser() -> argparse.ArgumentParser:
    """The command line, without ROS's own arguments."""
    parser = argparse.ArgumentParser(
        prog="picture_publisher",
        description="Publishes picture files as a camera would. ROS arguments follow --ros-args.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "pictures", type=Path, nargs="+", help="picture files, or folders: all below them, 9.jpg before 10.jpg"
    )
    parser.add_argument("--topic", help="topic to publish on (default: image/compressed, with --raw image)")
    parser.add_argument("--rate", type=_positive, default=1.0, help="pictures per second (default: %(default)s)")
    parser.add_argument("--raw", action="store_true", help="publish sensor_msgs/Image instead of CompressedImage")
    parser.add_argument("--loop", action="store_true", help="start again after the last picture")
    parser.add_argument(
        "--frame-id", default="camera_optical_frame", help="frame of the pictures (default: %(default)s)"
    )
    parser.add_argument(
        "--wait",
        type=float,
        default=10.0,
        metavar="SECONDS",
        help="for subscribers before the first picture (default: %(default)s)",
    )
    parser.add_argument(
        "--subscribers", type=int, default=1, help="how many of them to wait for (default: %(default)s)"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Publishes and ends.

    Returns:
        0 when every picture was published or a signal ended it, 1 when a picture cannot be read, 2 for a wrong call.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    command_line = list(sys.argv if arguments is None else ["picture_publisher", *arguments])
    options = build_parser().parse_args(remove_ros_args(command_line)[1:])
    try:
        files = find_pictures(options.pictures)
        # rclpy's own handlers would end the context under a picture that is being published.
        rclpy.init(args=command_line, signal_handler_options=SignalHandlerOptions.NO)
        publish(files, options)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except DsformerError as error:
        print(f"picture_publisher: {error}", file=sys.stderr)
        return error.exit_status
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        rclpy.try_shutdown()
    return 0


def publish(files: Sequence[Path], options: argparse.Namespace) -> None:
    """Publishes `files` at the rate of `options`, forever with `options.loop`.

    Raises:
        PictureError: names a file that cannot be read.
    """
    node = rclpy.create_node("picture_publisher")
    message_type = Image if options.raw else CompressedImage
    topic = options.topic or ("image" if options.raw else "image/compressed")
    publisher = node.create_publisher(message_type, topic, QoSProfile(depth=10))
    _wait_for_subscribers(node, publisher, message_type, options.subscribers, options.wait)
    due = time.monotonic()
    while rclpy.ok():
        for path in files:
            message = raw_message(path) if options.raw else compressed_message(path)
            time.sleep(max(0.0, due - time.monotonic()))
            # Turns the clock over where time is simulated, and ends on signals.
            rclpy.spin_once(node, timeout_sec=0.0)
            message.header.stamp = node.get_clock().now().to_msg()
            message.header.frame_id = options.frame_id
            publisher.publish(message)
            due = max(due + 1 / options.rate, time.monotonic())
        if not options.loop:
            # The last picture must have left before the middleware does.
            rclpy.spin_once(node, timeout_sec=0.5)
            return


def compressed_message(path: Path) -> CompressedImage:
    """A file byte for byte.

    Raises:
        PictureError: it cannot be read or is no picture.
    """
    try:
        data = path.read_bytes()
        with PillowImage.open(path) as picture:
            kind = (picture.format or "").lower()
    except (OSError, ValueError) as error:
        raise PictureError(f"{path}: {getattr(error, 'strerror', None) or 'not a picture'}") from error
    return CompressedImage(format=_ENCODINGS.get(path.suffix.lower(), kind), data=data)


def raw_message(path: Path) -> Image:
    """A file, decoded to rgb8."""
    picture = read_picture(path)
    height, width, channels = picture.shape
    return Image(height=height, width=width, encoding="rgb8", step=width * channels, data=picture.tobytes())


def _wait_for_subscribers(node: Node, publisher: Publisher, message_type: type, wanted: int, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while (found := publisher.get_subscription_count()) < wanted:
        if time.monotonic() > deadline:
            who = f"only {found} listen" if found else "nobody listens"
            heard = ", ".join(_topics_with_listeners(node, message_type)) or "none"
            node.get_logger().warning(
                f"{who} to {publisher.topic_name}; publishing all the same (image topics with listeners: {heard})"
            )
            return
        rclpy.spin_once(node, timeout_sec=0.05)
    # Discovery has two ends: a best-effort subscriber that does not know this publisher yet would miss the first one.
    time.sleep(_SETTLE)


def _topics_with_listeners(node: Node, message_type: type) -> list[str]:
    """Topics of a type that somebody listens to."""
    kind = f"sensor_msgs/msg/{message_type.__name__}"
    return sorted(
        topic for topic, kinds in node.get_topic_names_and_types() if kind in kinds and node.count_subscribers(topic)
    )


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


if __name__ == "__main__":
    sys.exit(main())
