"""From a source of geotagged pictures to a place map on disk, in steps that survive a kill."""

import itertools
import math
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pyarrow as pa

from dsformer_core.arithmetic import Arithmetic
from dsformer_core.errors import DsformerError, UsageError
from dsformer_core.place_map.building.assemble import About, assemble, positions_of
from dsformer_core.place_map.building.describe import Describer, Here, ShardTask
from dsformer_core.place_map.building.parts import MapPart, Part
from dsformer_core.place_map.building.placement import POSITION, place
from dsformer_core.place_map.building.shards import BrokenShardError, Shards, shard_size
from dsformer_core.place_map.building.work_folder import Plan, WorkFolder, now, pictures_digest, unfinished_build
from dsformer_core.place_map.format import MAP_FILE, file_digest
from dsformer_core.place_map.indexes.faiss_files import named_index
from dsformer_core.place_map.indexes.index import DEFAULT_INDEX, check_request, choose_index, storage_of
from dsformer_core.place_map.indexes.request import IndexRequest
from dsformer_core.place_map.place_map import PlaceMap
from dsformer_core.sources import NO_POSITION, GeotaggedPicture, Skipped, Source
from dsformer_core.staging import free_target, full_disk_in_words

if TYPE_CHECKING:
    from dsformer_core.extractor import Extractor

Step = Literal["scanning", "describing", "finishing"]


@dataclass(frozen=True)
class Progress:
    """How far a build has come.

    Attributes:
        step: what is being done.
        done: pictures finished in this step.
        total: pictures there are in it; None while they are being found.
    """

    step: Step
    done: int
    total: int | None


def build_place_map(
    source: Source,
    extractor: "Extractor | Describer",
    output: str | Path,
    *,
    name: str | None = None,
    batch_size: int = 8,
    workers: int = 2,
    index: str | IndexRequest = DEFAULT_INDEX,
    candidates: int | None = None,
    thumbnails: bool = True,
    strict: bool = False,
    overwrite: bool = False,
    resume: bool = False,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    on_skipped: Callable[[Skipped], None] = lambda skipped: None,
) -> PlaceMap:
    """Describes every picture of a source and writes the map, whole or not at all.

    What was described stays in the hidden folder ``.NAME.building`` beside the map until that is finished, so that a
    build that was interrupted, killed or ran out of disk can be resumed; with the same batch size and
    network threads the map is then the same, bit for bit (but for the time of its beginning, see `work_folder.now`).

    Args:
        source: where the pictures come from.
        extractor: describes them, here; or a `Describer` that has others do it (`place_map.workers`). The map can be
            searched with this network only.
        output: the directory to make.
        name: what to call the map; the directory's name without its suffix when None.
        batch_size: pictures that enter the network at a time; a `Describer` has its own.
        workers: threads that decode; likewise.
        index: how it is searched (`IndexRequest`), or the name of a kind (`INDEX_KINDS`); "auto" chooses by the number
            of references.
        candidates: where `index` is but a name, how many references the index finds for their descriptors to be put in
            order; more than there are views that look alike. None for as many as it takes by itself.
        thumbnails: whether small pictures are kept for people to look at.
        strict: whether one picture that cannot be used ends the build.
        overwrite: whether a map that is already at `output` is replaced, and an interrupted build of it forgotten.
        resume: whether an interrupted build is gone on with, where there is one; with `overwrite`, to replace the map.
            A map that this very build has made already is left as it is.
        on_progress: called as the work goes on.
        on_skipped: called with each picture that cannot be used.

    Returns:
        The new map, opened.

    Raises:
        DsformerError: there are no usable pictures, the disk is full, or (`strict`) a picture cannot be used.
        UsageError: `output` exists, there is no such index, it cannot have so many `candidates`, or the positions do
            not make one map; something else was begun at `output`.
    """
    request = IndexRequest.of(index, candidates)
    check_request(request)
    target = Path(output).absolute()
    describer = _describer(extractor, batch_size, workers)
    about = About(
        name or target.stem,
        now(),
        describer.model_name,
        describer.weights_sha256,
        describer.weights,
        describer.arithmetic,
        describer.descriptor_dim,
    )
    work = WorkFolder(target)
    if work.finish_clearing() and resume:
        return PlaceMap.open(output)
    if not resume:
        free_target(target, overwrite=overwrite, marker=MAP_FILE, kind="place map")
    if not (resume or overwrite) and (begun := unfinished_build(target)):
        raise UsageError(
            f"{target}: a build was interrupted here, with {begun.described} of {begun.pictures} pictures described: "
            "--resume goes on with it, --overwrite begins anew"
        )
    build = _Build(describer, thumbnails, _strictly(strict, on_skipped), on_progress)
    with full_disk_in_words(target), work.entered():
        if not resume:
            work.clear()
        pictures = build.scan(source)
        build.run(work, source, pictures, about, before=[], index=request, overwrite=overwrite)
    return PlaceMap.open(output)


def add_to_place_map(
    place_map: PlaceMap,
    source: Source,
    extractor: "Extractor | Describer",
    *,
    batch_size: int = 8,
    workers: int = 2,
    strict: bool = False,
    resume: bool = False,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    on_skipped: Callable[[Skipped], None] = lambda skipped: None,
) -> PlaceMap:
    """Describes the pictures of a source that a map does not have yet, and puts the map with them in its place.

    The map keeps its name, its frame, its kind of index, and its references their rows; new ones follow. Who has the
    old map open goes on with it. An interrupted addition is resumed as a build is.

    Args:
        place_map: the map.
        source: where pictures come from; those whose path or bag reference, and time (or place), are in the map are
            left out.
        extractor: the network that the map was made with.
        batch_size: as for `build_place_map`.
        workers: as above.
        strict: as above.
        resume: as above.
        on_progress: as above.
        on_skipped: as above.

    Returns:
        The new map, opened; the same as before where all of the source's pictures are in it already.

    Raises:
        MapError: the map was made with another network.
        DsformerError: there are no usable pictures, the disk is full, or (`strict`) a picture cannot be used.
        UsageError: the pictures lie too far from the map, or another addition was interrupted.
    """
    # A link is followed, unlike where a map is made: it names the map that is added to.
    target = place_map.directory.resolve()
    describer = _describer(extractor, batch_size, workers)
    # That INT8 was measured to find enough in this map does not make it what the map is of.
    unmeasured = replace(describer.arithmetic, measured_on="", measured_sha256="")
    place_map.check_model(describer.model_name, describer.weights_sha256, unmeasured)
    work = WorkFolder(target)
    if work.finish_clearing() and resume:
        return PlaceMap.open(place_map.directory)
    if not resume and (begun := unfinished_build(target)):
        raise UsageError(
            f"{target}: work on it was interrupted, with {begun.described} of {begun.pictures} pictures described: "
            f"--resume goes on with it; removing {work.folder} forgets it"
        )
    build = _Build(describer, place_map.has_thumbnails, _strictly(strict, on_skipped), on_progress)
    with full_disk_in_words(target), work.entered():
        if place_map.replaced:
            raise DsformerError(f"{place_map.directory} was replaced since it was opened: do it again")
        numbers = (place_map.timestamps, place_map.latitude, place_map.longitude)
        known = set(map(_moment, place_map.images, *(column.tolist() for column in numbers)))
        pictures = [
            one
            for one in build.scan(source)
            if _moment(one.image, one.timestamp, one.latitude, one.longitude) not in known
        ]
        if not pictures:
            return PlaceMap.open(place_map.directory)
        build.run(
            work,
            source,
            _with_free_names(pictures, set(place_map.ids), source.name),
            replace(
                About.of(place_map, created=now()),
                arithmetic=Arithmetic.together([place_map.arithmetic, describer.arithmetic]),
            ),
            before=[MapPart(place_map)],
            index=place_map.index_request,
            overwrite=True,
            adds_to=file_digest(place_map.directory / MAP_FILE),
        )
    return PlaceMap.open(place_map.directory)


def _moment(image: str, timestamp: float, *position: float) -> tuple[object, ...]:
    """What tells pictures apart: their path and time, or, without a time, their place: cards and robots reuse names."""
    return (image, *position) if math.isnan(timestamp) else (image, round(timestamp * 1e3))


def _with_free_names(pictures: list[GeotaggedPicture], taken: AbstractSet[str], source: str) -> list[GeotaggedPicture]:
    """The same pictures, with their source before their names where a map has one of these already."""
    for prefix in itertools.chain([""], [f"{source}/"], (f"{source}-{number}/" for number in itertools.count(2))):
        if not any(f"{prefix}{picture.id}" in taken for picture in pictures):
            return [replace(picture, id=f"{prefix}{picture.id}") for picture in pictures]
    raise AssertionError("there is always a free name")


@dataclass(frozen=True)
class _Build:
    """How pictures are described and what is told of it, whatever they become part of."""

    describer: Describer
    thumbnails: bool
    on_skipped: Callable[[Skipped], None]
    on_progress: Callable[[Progress], None]

    def scan(self, source: Source) -> list[GeotaggedPicture]:
        """The pictures of a source that have a position; at least one."""
        scanned = 0

        def count(more: int) -> None:
            nonlocal scanned
            scanned += more
            self.on_progress(Progress("scanning", scanned, None))

        pictures, left_out = source.scan(count)
        for skipped in left_out:
            self.on_skipped(skipped)
        if not pictures:
            raise DsformerError(f"{source.name}: none of its {len(left_out)} pictures can be used{_first(left_out)}")
        return pictures

    def run(
        self,
        work: WorkFolder,
        source: Source,
        pictures: list[GeotaggedPicture],
        about: About,
        *,
        before: list[Part],
        index: IndexRequest,
        overwrite: bool,
        adds_to: str = "",
    ) -> None:
        """Describes what is not described yet, and puts the map in place."""
        _refuse_far_apart(before, pictures)
        plan = Plan(
            created=about.created,
            pictures=len(pictures),
            pictures_sha256=pictures_digest(pictures),
            model_name=self.describer.model_name,
            weights_sha256=self.describer.weights_sha256,
            precision=self.describer.arithmetic.identity,
            dtype=storage_of(index),
            thumbnails=self.thumbnails,
            shard_size=shard_size(len(pictures)),
            adds_to=adds_to,
        )
        known = sum(len(part) for part in before)
        # An index that cannot be had is better refused now than after days of describing.
        choose_index(index, known + len(pictures), self.describer.descriptor_dim, bool(self.describer.code_bytes))
        if index.factory is not None:
            named_index(index.factory, self.describer.descriptor_dim)
        if not overwrite and work.is_finished(plan):
            return
        free_target(work.target, overwrite=overwrite, marker=MAP_FILE, kind="place map")
        plan, shards = work.begin(plan)
        while True:
            try:
                self._describe(source, pictures, shards)
                made = [shards.part(number) for number in range(len(shards))]
                if not any(len(part) for part in made):
                    unread = [skipped for part in made for skipped in part.skipped()]
                    work.clear()
                    raise DsformerError(
                        f"{source.name}: none of its {len(pictures)} pictures can be used{_first(unread)}"
                    )
                self.on_progress(Progress("finishing", 0, None))
                with work.finished_map(overwrite=overwrite) as folder:
                    assemble(
                        folder,
                        [*before, *made],
                        replace(about, created=plan.created, plan_sha256=plan.digest),
                        index=index,
                        thumbnails=self.thumbnails,
                    )
            except BrokenShardError as error:
                error.path.unlink()
                continue
            work.clear()
            return

    def _describe(self, source: Source, pictures: list[GeotaggedPicture], shards: Shards) -> None:
        missing = shards.missing()
        done = 0
        for number in sorted(set(range(len(shards))) - set(missing)):
            done += len(shards.rows(number))
            for skipped in shards.part(number).skipped():
                self.on_skipped(skipped)
        if done:
            self.on_progress(Progress("describing", done, len(pictures)))

        def count(more: int) -> None:
            nonlocal done
            done += more
            self.on_progress(Progress("describing", done, len(pictures)))

        stream = self.describer.describe_shards(
            (
                ShardTask(
                    number, [pictures[row] for row in shards.rows(number)], source.name, shards.dtype, self.thumbnails
                )
                for number in missing
            ),
            on_described=count,
            on_skipped=self.on_skipped,
        )
        with closing(stream) as described:
            for shard in described:
                shards.write(shard.number, shard.records, shard.skipped)


def _describer(extractor: "Extractor | Describer", batch_size: int, workers: int) -> Describer:
    """Who describes: an extractor does so here."""
    return extractor if isinstance(extractor, Describer) else Here(extractor, batch_size=batch_size, workers=workers)


def _strictly(strict: bool, on_skipped: Callable[[Skipped], None]) -> Callable[[Skipped], None]:
    """What is called with pictures that cannot be used."""

    def refuse(skipped: Skipped) -> None:
        raise DsformerError(f"{skipped.image}: {skipped.reason}")

    return refuse if strict else on_skipped


def _first(left_out: list[Skipped]) -> str:
    """One example of what was wrong, and what helps where it was a lack of positions."""
    if not left_out:
        return ""
    advice = ""
    if all(one.reason.endswith(NO_POSITION) for one in left_out):
        advice = "; give pictures with GPS in their EXIF, '@' file names, or a manifest"
    return f" (first: {left_out[0].image}: {left_out[0].reason}){advice}"


def _refuse_far_apart(before: Sequence[Part], pictures: list[GeotaggedPicture]) -> None:
    """Before anything is described: whether positions make one map."""
    known = positions_of(before)
    columns = {column: [getattr(picture, column) for picture in pictures] for column in POSITION}
    place(
        pa.concat_tables([known, pa.table(columns, known.schema)]),
        name=lambda row: (
            f"reference {row} of the map, seen from the pictures that are to be added,"
            if row < len(known)
            else pictures[row - len(known)].image
        ),
    )
