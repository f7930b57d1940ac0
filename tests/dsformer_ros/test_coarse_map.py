"""A map whose references lie farther apart than what a pose may be off by for its consumers."""

from pathlib import Path

import pytest
from sample_drive import Robot, nodes, sample_engine

from dsformer_core.place_map import build_place_map
from dsformer_core.sources import open_source
from dsformer_ros.engine import Engine

# 44 m of the drive, whose pictures lie 4 m apart.
EVERY = 11


def coarse_engine(folder: Path) -> Engine:
    sample = sample_engine()
    lines = ["path,latitude,longitude,altitude,heading_deg"]
    for row in range(0, sample.place_map.count, EVERY):
        place_map = sample.place_map
        where = f"{place_map.latitude[row]:.8f},{place_map.longitude[row]:.8f}"
        lines.append(f"{place_map.thumbnail_path(row)},{where},13,{place_map.heading_deg[row]:.2f}")
    (folder / "drive.csv").write_text("\n".join(lines))
    coarse = build_place_map(open_source(folder / "drive.csv"), sample.extractor, folder / "coarse.map", name="coarse")
    return Engine(coarse, sample.extractor)


def test_where_poses_are_too_vague_for_robot_localization_none_is_published_and_why_is_said(
    domain: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    engine = coarse_engine(tmp_path)
    assert engine.place_map.spacing > 32
    with nodes(domain, monkeypatch, fusion=False, min_probability=0.0, top_k=1) as ((node,), ears):
        robot = Robot(ears)
        robot.wait_for_discovery()
        assert node._pipeline is not None
        node._pipeline.replace_engine(engine)
        robot.see(1000, 2 * EVERY)
        assert ears.spin_until(lambda: "no pose is published beyond 32 m" in robot.status), robot.status
        assert robot.status.startswith("NO_MATCH") and not robot.poses
