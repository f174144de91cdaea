"""Segments cases one after the other with a model that stays loaded, and publishes each result by renaming files."""

from __future__ import annotations

import json
import os
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

from automedsam import __version__
from automedsam.bundle import Bundle, file_hash
from automedsam.cohort.case import Case
from automedsam.cohort.figures import dice_with, figures_of
from automedsam.cohort.fingerprint import content_hash, stamp
from automedsam.cohort.lock import holder_of
from automedsam.cohort.output_folder import OutputFolder
from automedsam.cohort.settings import CohortSettings
from automedsam.cohort.thumbnail import thumbnail
from automedsam.contract.backends import Backend
from automedsam.core.events import Finished, RunReport
from automedsam.core.intensity import to_uint8
from automedsam.core.memory import is_out_of_memory, not_enough_memory
from automedsam.core.segmentation import Segmentation
from automedsam.core.volume import Plane
from automedsam.errors import AutoMedSAMError
from automedsam.io.atomic import atomic_write
from automedsam.io.dicom.seg_writer import check_dicom_seg
from automedsam.io.segmentation_writer import write_segmentation, write_verified
from automedsam.io.volume_reader import read_volume
from automedsam.pipeline.backends import LoadedModel, load_model
from automedsam.pipeline.run import SegmentationRun
from automedsam.runtime.threads import VARIABLE
from automedsam.visualization.montage import write_png

Record: TypeAlias = dict[str, Any]

DONE, FAILED = "done", "failed"


class CaseWorker:
    """Runs cases; on a cluster each worker is a process of its own that holds one loaded model.

    Args:
        settings: `CohortSettings.to_json()`.
        output: The output folder.
        threads: The cores to use; the engine's own choice if None.
    """

    def __init__(self, settings: dict[str, Any], output: str, threads: int | None = None) -> None:
        if threads is not None:
            os.environ[VARIABLE] = str(threads)
        self._settings = CohortSettings(**settings)
        self._folder = OutputFolder(Path(output))
        self._bundle: Bundle | None = None
        self._engine: LoadedModel | None = None

    def prepare(self, version: str, holder: str) -> str:
        """Loads the model.

        Args:
            version: That of the computer which started the run.
            holder: `holder_of` the output folder as seen from there.

        Returns:
            "" or, in one sentence, why nothing can be run here.
        """
        host = socket.gethostname()
        if version != __version__:
            return f"{host} has automedsam {__version__}, and the run needs {version}: install the same version there."
        if holder_of(self._folder.path) != holder:
            return (
                f"{host} does not see {self._folder.path}: choose an output folder that all computers of the cluster "
                "share, under the same path."
            )
        try:
            self._bundle = self._settings.bundle()
            self._engine = load_model(self._bundle, Backend(self._settings.backend))
        except AutoMedSAMError as error:
            return str(error)
        return ""

    def run(self, row: dict[str, Any]) -> Record:
        """Runs one case, whatever becomes of it.

        Args:
            row: `Case.to_row()`.

        Returns:
            The record for the manifest: state "done" or "failed" with its sentence.
        """
        case = Case.from_row(row)
        began = time.perf_counter()
        record: Record = {"case": case.name, "state": FAILED, "message": case.problem, "paths": row["paths"]}
        if not case.problem:
            try:
                record |= self._segment(case)
            except AutoMedSAMError as error:
                record["message"] = str(error)
            except OSError as error:
                path = error.filename or "A file"
                record["message"] = f"{path} cannot be read ({error.strerror or error}); check it, and run again."
            except Exception as error:  # One case must not end the others.
                record["message"] = (
                    not_enough_memory(f"segment {case.name}")
                    if is_out_of_memory(error)
                    else f"{case.name} ended in an unexpected error ({type(error).__name__}: {error})."
                )
        record.setdefault("seconds", round(time.perf_counter() - began, 3))
        return record | {"host": socket.gethostname(), "process": os.getpid()}

    def _segment(self, case: Case) -> Record:
        assert self._bundle is not None
        sources = [*case.paths, *([case.reference] if case.reference else [])]
        for path in sources:
            if not path.exists():
                message = f"{path} does not exist; check its spelling and folder."
                raise AutoMedSAMError(message)
        # The stamp first: a file that changes while it is read is then found changed by the next run.
        inputs = {"stamp": stamp(sources), "sha256": content_hash(sources), "settings": self._settings.key}
        published = self._published(case, inputs)
        if published is not None:
            return published
        began = time.perf_counter()
        volume = read_volume(case.paths, len(self._bundle.modalities), modalities=self._bundle.modalities)
        if self._settings.has_dicom:
            check_dicom_seg(self._folder.segmentation(case.stem, self._settings.suffix), volume)
        plane = None if self._settings.plane is None else Plane(self._settings.plane)
        run = SegmentationRun(
            volume,
            self._bundle,
            backend=Backend(self._settings.backend),
            threshold=self._settings.threshold,
            plane=plane,
            engine=self._engine,
        )
        report = RunReport()
        for event in run.events():
            if isinstance(event, Finished):
                report = event.report
        result = run.result()
        figures = figures_of(run, report, result)
        if case.reference is not None:
            figures["dice"] = dice_with(result, case.reference)
        record = {
            "state": DONE,
            "message": "",
            "inputs": inputs,
            "figures": figures,
            "warnings": [one.sentence for one in run.input_warnings],
            "notes": list(volume.notes),
        }
        return self._publish(case, run, result, record, began)

    def _published(self, case: Case, inputs: dict[str, Any]) -> Record | None:
        """What an earlier worker finished for the same input and settings before it was lost."""
        try:
            details = json.loads(self._folder.details(case.stem).read_text(encoding="utf-8"))
            record = details["record"]
            output = self._folder.path / record["output"]["path"]
            same = record["inputs"]["sha256"] == inputs["sha256"] and record["inputs"]["settings"] == inputs["settings"]
            if same and file_hash(output) == record["output"]["sha256"]:
                return dict(record) | {"inputs": inputs}
        except (OSError, ValueError, KeyError, TypeError):
            pass
        return None

    def _publish(self, case: Case, run: SegmentationRun, result: Segmentation, record: Record, began: float) -> Record:
        """Writes the files of a case, the one that completes it last."""
        with suppress(FileNotFoundError):
            self._folder.details(case.stem).unlink()
        output = self._folder.segmentation(case.stem, self._settings.stored_suffix)
        write_segmentation(result, output)
        if self._settings.has_dicom:
            write_segmentation(result, self._folder.segmentation(case.stem, self._settings.suffix))
        if self._settings.images:
            voxels = run.volume.array if run.volume.array.ndim == 3 else run.volume.array[0]
            gray = to_uint8(voxels, run.bundle.window)
            with atomic_write(self._folder.image(case.stem)) as unfinished:
                write_verified(run.volume.to_image(gray), unfinished)
        _, row_mm, column_mm = run.volume.frame_spacing(run.plane)
        picture = thumbnail(run.slices, run.tracker.labels, (row_mm, column_mm), result.segments)
        write_png(picture, self._folder.thumbnail(case.stem))
        record = record | {
            "output": {
                "path": str(output.relative_to(self._folder.path)),
                "bytes": output.stat().st_size,
                "sha256": file_hash(output),
            },
            "seconds": round(time.perf_counter() - began, 3),
        }
        details = {
            "case": case.to_row(),
            "record": record,
            "segments": [{"value": s.value, "name": s.name, "color": s.color} for s in result.segments],
            "confidence": [[one.index, round(one.confidence, 4), one.reason] for one in run.confidence()],
            "objects": [
                {str(index): [*box.corners, box.score, box.label] for index, box in tracklet.boxes.items()}
                for tracklet in run.tracklets
            ],
        }
        with atomic_write(self._folder.details(case.stem)) as unfinished:
            unfinished.write_text(json.dumps(details, indent=1, default=float) + "\n", encoding="utf-8")
        return record
