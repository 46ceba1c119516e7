"""Periodic checkpoints."""

import os
import shutil

from detectron2.engine import hooks

from ...checkpoint.atomic import atomic_write, remove_unfinished
from ...checkpoint.recovery import periodic_checkpoints


class CheckpointHook(hooks.PeriodicCheckpointer):
    """Detectron2's hook, which in a resumed run knows the checkpoints from before, too."""

    def before_train(self):
        super().before_train()
        folder = self.checkpointer.save_dir
        remove_unfinished(folder)
        self.recent_checkpoints = periodic_checkpoints(folder, before=self.trainer.start_iter)
        last = os.path.join(folder, f"{self.file_prefix}_{self.trainer.max_iter - 1:07d}.pth")
        complete = self.trainer.start_iter == self.trainer.max_iter
        if complete and self.checkpointer.get_checkpoint_file() == last:
            # The run was killed between its last two checkpoints, which are the same.
            final = f"{self.file_prefix}_final.pth"
            with open(last, "rb") as source, atomic_write(os.path.join(folder, final)) as file:
                shutil.copyfileobj(source, file)
            self.checkpointer.tag_last_checkpoint(final)
