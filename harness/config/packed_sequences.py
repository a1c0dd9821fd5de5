"""The settings that several examples in a row of a training batch (trainer.pack_sequences) exclude."""

from harness.config.schema import Config


def packed_sequence_mistakes(config: Config) -> list[str]:
    """The reasons why a task's examples cannot be packed; a trial tries whether its base keeps them apart."""
    if not config.trainer.pack_sequences:
        return []
    where, task, model = "trainer.pack_sequences=true", config.task, config.model
    if task.written_rows is None or task.transcribes:
        rule = "of causal language models that learn to write, as with task=chat or task=seq2seq"
        return [f"{where}: {rule}; task={task.name}: false"]
    if not model.one_sequence:
        return [f"{where}: model={model.name} has an encoder and a decoder, and a row is of one of them: false"]
    if config.trainer.reuse_features:
        return [f"{where}: trainer.reuse_features=true keeps what is computed of examples row by row; one of them"]
    return []
