"""The jobs by name: the controller's own process hands them out without loading what they need."""

from typing import Final

from lodeworks_controller.service.segments import Inspection, Page
from lodeworks_controller.storage.segments.job_types import (
    Arrival,
    ArriveJob,
    DealJob,
    DigestsJob,
    ExcludeJob,
    FilterJob,
    InspectJob,
    MergeJob,
    Outcome,
    PageJob,
    PartsJob,
    PositivesJob,
    PredictJob,
    SelectJob,
    ShortlistJob,
    ViewJob,
)
from lodeworks_controller.storage.segments.pool import Work

_HERE: Final = __name__.rpartition(".")[0]

FILTER: Final[Work[FilterJob, Outcome]] = Work(f"{_HERE}.membership", "filter_members")
SHORTLIST: Final[Work[ShortlistJob, int]] = Work(f"{_HERE}.membership", "shortlist_members")
MERGE: Final[Work[MergeJob, Outcome]] = Work(f"{_HERE}.membership", "merge_members")
EXCLUDE: Final[Work[ExcludeJob, Outcome]] = Work(f"{_HERE}.membership", "exclude_members")
DRAW: Final[Work[PartsJob, tuple[Outcome, ...]]] = Work(f"{_HERE}.membership", "draw_parts")
DEAL: Final[Work[DealJob, tuple[Outcome, ...]]] = Work(f"{_HERE}.dealing", "deal_parts")
SELECT: Final[Work[SelectJob, Outcome]] = Work(f"{_HERE}.membership", "select_members")
POSITIVES: Final[Work[PositivesJob, tuple[int, ...]]] = Work(f"{_HERE}.membership", "positives")
DIGESTS: Final[Work[DigestsJob, int]] = Work(f"{_HERE}.view", "write_digests")
VIEW: Final[Work[ViewJob, int]] = Work(f"{_HERE}.view", "build_view")
PAGE: Final[Work[PageJob, Page]] = Work(f"{_HERE}.page", "read_page")
INSPECT: Final[Work[InspectJob, Inspection]] = Work(f"{_HERE}.inspection", "inspect_exchange")
ARRIVE: Final[Work[ArriveJob, Arrival]] = Work(f"{_HERE}.arrival", "arrive")
ARRIVE_PREDICTIONS: Final[Work[PredictJob, Outcome]] = Work(f"{_HERE}.arrival", "arrive_predictions")
