"""run=predict: what a trial's network says of texts, conversations, images or recordings."""

from harness.commands.checks import check_installed
from harness.commands.devices import refuse_several_processes
from harness.commands.job import HydraJob
from harness.commands.named_files import input_and_output
from harness.config import ConfigError, TaskConfig


def run(job: HydraJob) -> None:
    """Write a CSV file, a row for each of them, and print its name. Raises ConfigError for what cannot be read."""
    config = job.config
    refuse_several_processes("predict")
    if config.input is None or config.output is None:
        input_and_output(config, "FILE")
    from harness.trial.predict import predict, read_texts, write_predictions
    from harness.trial.predict_chats import write_answers
    from harness.trial.predict_choices import write_choices
    from harness.trial.predict_files import reads_files, write_of_files
    from harness.trial.predict_spans import write_spans
    from harness.trial.predict_tags import write_tags
    from harness.trial.predict_transcripts import write_transcripts
    from harness.trial.trained import find_trained

    trained = find_trained(config.results, config.study, config.trial)
    check_installed(trained.config)
    task = trained.config.task
    _refuse_pixels(task, config.study)
    source, target = input_and_output(config, "FILE", takes_folder=reads_files(task))
    writers = (
        (reads_files(task), write_of_files),
        (task.tags_tokens, write_tags),
        (task.marks_answers, write_spans),
        (task.transcribes, write_transcripts),
        (task.offers_options, write_choices),
        (task.holds_chats, write_answers),
    )
    for asked, write in writers:
        if asked:
            write(trained, source, target)
            break
    else:
        texts = read_texts(trained, source)
        write_predictions(trained, texts, predict(trained, *texts), target)
    print(target)


def _refuse_pixels(task: TaskConfig, study: str) -> None:
    """Raise ConfigError for a trial whose answers are images."""
    if task.needs_model == "dense":
        rule = "run=evaluate with output=FILE has the scores of rows with labels"
        raise ConfigError(f"study={study}: task={task.name} answers for each pixel, which run=predict does not: {rule}")
