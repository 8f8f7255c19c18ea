"""How the result of ``check`` is shown: in words to people, as JSON to programs, and as an exit status.

Source: docs/spec/cli.md, section 7.1; docs/spec/mutable.md, section 15.
"""

from __future__ import annotations

from holdfast.cli.exit_codes import ExitCode
from holdfast.cli.messages import plural, size_text
from holdfast.cli.problems import problems_as_json
from holdfast.grid.mutable.checking import MutableCheckResult
from holdfast.grid.mutable.repairing import MutableRepairResult
from holdfast.grid.results import CheckResult


def status_of(result: CheckResult) -> ExitCode:
    """Return the exit status that tells how a file is."""
    if not result.recoverable or _rolled_back(result):
        return ExitCode.UNRECOVERABLE  # what was there before cannot be read, and nothing else counts
    return ExitCode.DONE if result.healthy else ExitCode.UNHEALTHY


def verdict(result: CheckResult) -> str:
    """Return how a file is in one line: in a word or two, and the numbers behind it."""
    match status_of(result):
        case ExitCode.DONE:
            health = "healthy"
        case ExitCode.UNHEALTHY:
            health = "unhealthy, can be read"
        case _:
            health = "cannot be read now"
    return f"{health}: {summary(result)}"


def summary(result: CheckResult) -> str:
    """Return the numbers."""
    if not result.shares_total:
        return "the file is inside the capability; no server holds it"
    known = plural(result.servers_known, "server")
    answered = f"{result.servers_asked} of {known} answered"
    if is_missing(result):
        text = f"no good share was found; {answered}"
    else:
        total = plural(result.shares_total, "share")
        version = _version(result) if isinstance(result, MutableCheckResult) else ""
        text = (
            f"{version}{len(result.shares)} of {total}, any {result.shares_needed} suffice; "
            f"happiness {result.happiness}; {answered}"
        )
    return f"{text}; {plural(len(result.corrupt), 'share')} corrupt" if result.corrupt else text


def is_missing(result: CheckResult) -> bool:
    """Tell whether no version of a mutable file was found, so that nothing is known of its shares."""
    return isinstance(result, MutableCheckResult) and result.sequence is None


def findings(result: CheckResult) -> list[str]:
    """Return what else is to be said of a file that can change, each in a line."""
    if not isinstance(result, MutableCheckResult):
        return []
    lines = []
    good = result.recoverable_versions - result.recoverable
    bad = result.unrecoverable_versions - (not result.recoverable and not is_missing(result))
    if good or bad:
        found = [f"{count} that {can} be read" for count, can in ((good, "can"), (bad, "cannot")) if count]
        shares = plural(result.wrong_shares, "share")
        lines.append(f"other versions were found, too: {', '.join(found)}; {shares} of theirs")
    if result.needs_merge:
        lines.append("two versions were written at the same time, and neither is newer")
    if result.rolled_back:
        lines.append("this version is older than one that was read or written here before")
    if result.needs_repair and result.recoverable:
        lines.append("needs repair")
    return lines


def deed(repair: MutableRepairResult) -> str:
    """Return what a repair did, in one line."""
    if not repair.attempted:
        if repair.successful:
            return "repair: nothing was to be done"
        return "repair: not possible, as no version can be read"
    if repair.kept_version:
        what = f"{plural(shares_made(repair), 'share')} made again, in the same version"
    else:
        what = f"the contents were written anew, as version {repair.after.sequence}"
    return f"repair: {what}" if repair.successful else f"repair: {what}; that did not mend all"


def shares_made(repair: MutableRepairResult) -> int:
    """Return how many shares are where none of them, or a bad one, was before."""
    before, after = (
        {(n, s) for n, held in r.shares.items() for s in held} for r in (repair.before, repair.after)
    )
    return len(after - before)


def result_as_json(result: CheckResult) -> dict[str, object]:
    """Return a result for programs; of a file that can change, with what was found of its versions."""
    value: dict[str, object] = {
        "healthy": result.healthy and not _rolled_back(result),
        "recoverable": result.recoverable,
        "shares": {str(number): list(holders) for number, holders in sorted(result.shares.items())},
        "shares_needed": result.shares_needed,
        "shares_total": result.shares_total,
        "happiness": result.happiness,
        "corrupt": problems_as_json(result.corrupt),
        "problems": problems_as_json(result.problems),
        "servers_asked": result.servers_asked,
        "servers_known": result.servers_known,
    }
    if isinstance(result, MutableCheckResult):
        value |= {
            "sequence": result.sequence,
            "size": result.size,
            "recoverable_versions": result.recoverable_versions,
            "unrecoverable_versions": result.unrecoverable_versions,
            "wrong_shares": result.wrong_shares,
            "needs_merge": result.needs_merge,
            "needs_repair": result.needs_repair,
            "rolled_back": result.rolled_back,
        }
    return value


def repair_as_json(repair: MutableRepairResult | None) -> dict[str, object] | None:
    """Return what a repair did, and how the file was before; None if it is in its capability."""
    if repair is None:
        return None
    return {
        "attempted": repair.attempted,
        "successful": repair.successful,
        "kept_version": repair.kept_version,
        "before": result_as_json(repair.before),
    }


def _version(result: MutableCheckResult) -> str:
    return f"version {result.sequence}, {size_text(result.size)}; "


def _rolled_back(result: CheckResult) -> bool:
    return isinstance(result, MutableCheckResult) and result.rolled_back
