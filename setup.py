"""One tree, two installs: an ament_python package for colcon, and an ordinary package for pip."""

from pathlib import Path

from setuptools import find_packages, setup

PACKAGE = "dsformer_ros"


def share_tree(folder: str) -> list[tuple[str, list[str]]]:
    """Every file below `folder`, as data_files entries that keep the tree's shape."""
    by_directory: dict[str, list[str]] = {}
    for path in sorted(Path(folder).rglob("*")):
        if path.is_file():
            by_directory.setdefault(f"share/{PACKAGE}/{path.parent.as_posix()}", []).append(path.as_posix())
    return list(by_directory.items())


setup(
    name=PACKAGE,
    version="0.1.0",
    description="Visual place recognition that tells a lost robot roughly where it is, on ROS 2.",
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    maintainer="dsformer_ros maintainers",
    maintainer_email="maintainers@users.noreply.b-seed-f7865446.example",
    packages=find_packages(include=["dsformer_core*", "dsformer_ros*"]),
    package_data={
        "dsformer_core": ["py.typed", "models/*.safetensors", "place_map/inspection/*.js"],
        "dsformer_ros": ["py.typed", "watch/*.html"],
    },
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{PACKAGE}"]),
        (f"share/{PACKAGE}", ["package.xml"]),
        (f"share/{PACKAGE}/launch", sorted(path.as_posix() for path in Path("launch").glob("*.launch.py"))),
        *share_tree("config"),
        *share_tree("maps"),
    ],
    zip_safe=False,
    python_requires=">=3.10",
    install_requires=[
        "faiss-cpu>=1.9",
        "numpy>=1.23",
        "opencv-python-headless>=4.5",
        "pillow>=11.3",
        "pyarrow>=14",
        "pyyaml>=5.4",
        "rich>=12",
        "safetensors>=0.4",
        "scipy>=1.8",
        "timm>=1.0",
        "torch>=2.1",
        "torchvision>=0.16",
        "utm>=0.7",
    ],
    extras_require={
        # The ROS 2 Jazzy client libraries from PyPI, for machines without a ROS installation.
        "ros": [
            "ros-jazzy-diagnostic-msgs",
            "ros-jazzy-geometry-msgs",
            "ros-jazzy-lifecycle-msgs",
            "ros-jazzy-nav-msgs",
            "ros-jazzy-rclpy",
            "ros-jazzy-rmw-fastrtps-cpp",
            "ros-jazzy-rosgraph-msgs",
            "ros-jazzy-sensor-msgs",
            "ros-jazzy-std-msgs",
            "ros-jazzy-std-srvs",
            "ros-jazzy-visualization-msgs",
            "rosbags-image>=0.10",
        ],
        # Sources of pictures: recordings, without ROS, and films with a GPX track.
        "bags": ["rosbags>=0.11.7", "rosbags-image>=0.10"],
        "video": ["av>=14", "gpxpy>=1.5"],
        "train": [
            "lightning-fabric>=2.2",
            "numba>=0.59",
            "pydantic>=2.5",
            "pytorch-metric-learning>=2.0",
            "tensorboard>=2.12",
            "torch>=2.6",  # resuming reads a .pth file, which older ones may run code from
        ],
        # Life of a map: areas as GeoJSON has them, and hloc's files of descriptors.
        "geo": ["shapely>=2.0"],
        "hloc": ["h5py>=3.0"],
        # Many machines that describe pictures for one map.
        "cluster": ["ray[data]>=2.40"],
        # Networks as files for other runtimes; with CUDA, onnxruntime-gpu. TensorRT comes with a GPU's system.
        "export": ["onnx>=1.16", "onnxruntime>=1.18", "onnxscript>=0.3", "torch>=2.6"],
        "viz": ["folium>=0.19", "xstatic-leaflet==1.9.3.0"],
        # `dsformer watch`: its web server.
        "watch": ["aiohttp>=3.9"],
        "gpu": ["faiss-gpu-cu12>=1.9"],
        "dev": [
            "cv-bridge==1.13.0.post0",
            "geopandas>=1.0",
            "hdbscan>=0.8.40",
            "hypothesis",
            "mypy",
            "pre-commit",
            "pyproj",
            "pytest",
            "pytest-cov",
            "pytest-timeout",
            "pytest-xdist",
            "ruff",
            "types-PyYAML",
        ],
    },
    entry_points={
        "console_scripts": [
            "dsformer = dsformer_core.cli.main:main",
            "localizer_node = dsformer_ros.localizer_node:main",
            "picture_publisher = dsformer_ros.picture_publisher:main",
        ],
        # Sub-commands of `dsformer`; another package adds its own the same way.
        "dsformer.commands": [
            "map = dsformer_core.cli.map:register",
            "localize = dsformer_core.cli.localize:register",
            "cluster = dsformer_core.cli.cluster:register",
            "train = dsformer_core.cli.train:register",
            "benchmark = dsformer_core.cli.benchmark:register",
            "evaluate = dsformer_core.cli.evaluate:register",
            "export = dsformer_core.cli.export:register",
            "weights = dsformer_core.cli.weights:register",
            "render = dsformer_core.cli.render:register",
            "demo = dsformer_ros.demo:register",
            "watch = dsformer_ros.watch:register",
        ],
    },
)
