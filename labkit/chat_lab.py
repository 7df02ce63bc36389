"""Chatting in a notebook: the same questions to several checkpoints, side by side."""

from __future__ import annotations

from collections.abc import Iterable

from labkit.chat import Conversation, Reply, Settings, open_models
from labkit.lesson import Lab, headless, show_html
from labkit.store import Checkpoint
from labkit.tables import plain_table


class ChatSession:
    """A conversation and what was said in it. questions: prepared ones to choose from."""

    def __init__(self, conversation: Conversation, questions: Iterable[str] = ()):
        self.conversation, self.questions = conversation, tuple(questions)
        self.said: list[tuple[str, dict[str, Reply]]] = []

    @property
    def settings(self) -> Settings:
        return self.conversation.settings

    def notes(self) -> list[str]:
        return self.conversation.notes()

    def ask(self, question: str, **settings: object) -> dict[str, Reply]:
        """Every model's answer. settings: of chat.Settings, from now on. Raises InputError."""
        if settings:
            self.conversation.settings = Settings(**settings)
        replies = self.conversation.ask(question)
        self.said.append((question, replies))
        return replies

    def reset(self) -> None:
        self.conversation.reset()
        self.said = []

    def html(self) -> str:
        """What was said, a row per question and a column per model, everything escaped."""
        return plain_table(("question", *self.conversation.names), ((question, *map(_told, replies.values())) for question, replies in self.said))


def _told(reply: Reply) -> str:
    return f"{reply.shown} ({'; '.join(reply.remarks)})" if reply.remarks else reply.shown


def chat(lab: Lab, checkpoints: dict[str, str | Checkpoint], questions: Iterable[str], **settings: object) -> None:
    """A panel to talk to several checkpoints at once; headless, a table of their answers to the questions, each asked afresh.

    checkpoints: label -> checkpoint or name. settings: of chat.Settings. Raises InputError for a model that cannot be asked.
    """
    session = ChatSession(Conversation(open_models(checkpoints.items()), Settings(**settings)), questions)
    if not headless():
        from IPython.display import display

        from labkit.chat_panel import chat_panel

        display(chat_panel(session))
        return
    for question in session.questions:
        session.conversation.reset()
        lab.record("chat", question=question, answers={name: reply.text for name, reply in session.ask(question).items()})
    for note in session.notes():
        print(note)
    show_html(session.html())
