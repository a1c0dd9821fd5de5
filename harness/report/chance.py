"""What a report says of scores that nothing was learned for: always the same answer, and the base as it is."""

from collections.abc import Iterable

from harness.record import Record


def chance(entry: Record, others: Iterable[Record] = ()) -> str:
    """What is scored without having learned anything; nothing in records from before it was kept.

    The base is scored where test is read: by `others` of its study, where not by `entry`.
    """
    always, mean, sets = (entry.data.details.get(name) for name in ("majority", "mean_predictor", "usual_labels"))
    guessing = entry.data.details.get("chance")
    guess = f"Guessing has a test accuracy of {guessing['test']:.4f}. " if isinstance(guessing, dict) else ""
    if isinstance(always, dict) and "test" in always:
        most = f"the most frequent {'place' if guess else 'class'}, {always['class']},"
        return f"{guess}Always answering {most} has a test accuracy of {always['test']:.4f}. "
    answer = entry.data.details.get("usual_answer")
    if isinstance(answer, dict) and "test" in answer:
        said = f"Always giving the most frequent answer of training, {answer['answer']},"
        return f"{said} is right for {answer['test']:.4f} of the test texts that are written. "
    if written := _written_alike(entry):
        return written
    if isinstance(usual_text := entry.data.details.get("usual_transcript"), dict) and "test" in usual_text:
        most = f"the most frequent transcript, {usual_text['text']!r},"
        return f"Always writing {most} has a test WER of {usual_text['test']:.4f}. {_before((entry, *others))}"
    if isinstance(span := entry.data.details.get("usual_span"), dict) and "test" in span:
        most = f"the most frequent answer of training, {span['answer']!r}," if span["answer"] else "no answer"
        return f"Always giving {most} has a test F1 of {span['test']:.4f}. "
    if isinstance(sets, dict) and "test" in sets:
        usual = ", ".join(sets["labels"])
        return f"Always answering the most frequent labels, {usual}, has a test F1 (micro) of {sets['test']:.4f}. "
    if isinstance(mean, dict) and "test" in mean:
        return f"Always answering the mean of training has a test RMSE of {mean['test']:.4f}. "
    return ""


def _written_alike(entry: Record) -> str:
    """What copying scores, and always writing one text."""
    copied, usual = (entry.data.details.get(name) for name in ("copy", "usual_text"))
    said = []
    if isinstance(copied, dict) and "test" in copied:
        said.append(f"Copying the source has a test chrF of {copied['test']:.2f}. ")
    if isinstance(usual, dict) and "test" in usual:
        line = " ".join(usual["text"].split())
        short = line if len(line) <= 60 else f"{line[:60]}…"
        said.append(f"Always writing the most frequent target, {short!r}, has a test chrF of {usual['test']:.2f}. ")
    return "".join(said)


def _before(records: Iterable[Record]) -> str:
    """What the base scored before any training, by the first record that says so."""
    for entry in records:
        if (rates := entry.scores.get("base")) is not None:
            window = entry.provenance.arithmetic.get("window")
            cut = f", its window cut to {window}," if window is not None else ""
            return f"The base as it is{cut} has a test WER of {rates['wer']:.4f}. "
    return ""
