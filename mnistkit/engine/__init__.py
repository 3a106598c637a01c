"""The fast trainer: the learning of ``model.fit`` with the epoch inside one compiled or replayed program."""
