"""run=predict: what a trial's network says of the texts, conversations or recordings of a file."""

from harness.commands.checks import check_installed
from harness.commands.devices import refuse_several_processes
from harness.commands.job import HydraJob
from harness.commands.named_files import input_and_output


def run(job: HydraJob) -> None:
    """Write a CSV file, a row for each of them, and print its name. Raises ConfigError for what cannot be read."""
    config = job.config
    refuse_several_processes("predict")
    source, target = input_and_output(config, "FILE")
    from harness.trial.predict import predict, read_texts, write_predictions
    from harness.trial.predict_chats import write_answers
    from harness.trial.predict_choices import write_choices
    from harness.trial.predict_spans import write_spans
    from harness.trial.predict_tags import write_tags
    from harness.trial.predict_transcripts import write_transcripts
    from harness.trial.trained import find_trained

    trained = find_trained(config.results, config.study, config.trial)
    check_installed(trained.config)
    task = trained.config.task
    writers = (
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
