"""What can be known to be wrong with a request before it is run."""

from AutoMedSAMLib.errors import AutoMedSAMError
from AutoMedSAMLib.geometry import check_volumes, ijk_to_segmentation
from AutoMedSAMLib.run import RunRequest
from AutoMedSAMLib.segment_writer import check_segmentation


def check_request(request: RunRequest) -> None:
    """Finds out before a run whether it can be.

    Raises:
        AutoMedSAMError: If it cannot, with what to do about it.
    """
    if request.backend not in ("int8", "fp32"):
        message = f"There is no backend {request.backend}: choose INT8 or FP32."
        raise AutoMedSAMError(message)
    if request.backend not in request.model.precisions:
        message = (
            f"The files of {request.model.name} for {request.backend.upper()} are not here; choose another backend."
        )
        raise AutoMedSAMError(message)
    if request.threshold is not None and not 0 < request.threshold <= 1:
        message = f"The threshold {request.threshold} is not a score: give a number above 0 and at most 1."
        raise AutoMedSAMError(message)
    check_volumes(request.volumes, request.model.modalities)
    if request.segmentation is not None:
        check_segmentation(request.segmentation)
        ijk_to_segmentation(request.volumes[0], request.segmentation)
