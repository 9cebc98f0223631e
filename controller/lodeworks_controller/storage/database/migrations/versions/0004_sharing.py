"""The tables of quotas, fair share, reuse."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Applies it."""
    op.create_table(
        "quotas",
        sa.Column("scope", sa.String(length=10), nullable=False),
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("weight", sa.Float(), nullable=False),
        sa.Column("running_tasks", sa.Integer(), nullable=True),
        sa.Column("gpus", sa.Integer(), nullable=True),
        sa.Column("queued_tasks", sa.Integer(), nullable=True),
        sa.Column("blob_bytes", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("scope", "id", name=op.f("pk_quotas")),
    )
    op.create_table(
        "checkpoints",
        sa.Column("task_id", sa.String(length=26), nullable=False),
        sa.Column("lease_epoch", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("saved_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["task_id"], ["tasks.id"], name=op.f("fk_checkpoints_task_id")),
        sa.PrimaryKeyConstraint("task_id", name=op.f("pk_checkpoints")),
    )
    with op.batch_alter_table("tasks", schema=None) as batch_op:
        batch_op.add_column(sa.Column("rank", sa.Integer(), nullable=False, server_default="0"))
        batch_op.add_column(sa.Column("lane", sa.Text(), nullable=False, server_default=""))
        batch_op.add_column(sa.Column("start_before", sa.BigInteger(), nullable=True))
        batch_op.add_column(sa.Column("options", sa.Text(), nullable=False, server_default="{}"))
        batch_op.add_column(sa.Column("reuse_key", sa.String(length=64), nullable=True))
        batch_op.add_column(sa.Column("equal_task_id", sa.String(length=26), nullable=False, server_default=""))
        batch_op.add_column(sa.Column("reused", sa.Boolean(), nullable=False, server_default=sa.false()))
        batch_op.drop_index(batch_op.f("ix_tasks_state_planned_requires"))
    _fill_lanes()
    with op.batch_alter_table("tasks", schema=None) as batch_op:
        batch_op.alter_column("rank", existing_type=sa.Integer(), server_default=None)
        batch_op.alter_column("lane", existing_type=sa.Text(), server_default=None)
        batch_op.alter_column("options", existing_type=sa.Text(), server_default=None)
        batch_op.alter_column("equal_task_id", existing_type=sa.String(length=26), server_default=None)
        batch_op.alter_column("reused", existing_type=sa.Boolean(), server_default=None)
        batch_op.create_index(batch_op.f("ix_tasks_reuse_key"), ["reuse_key"], unique=False)
        batch_op.create_index(batch_op.f("ix_tasks_start_before"), ["start_before"], unique=False)
        batch_op.create_index(
            batch_op.f("ix_tasks_state_planned_lane_rank_id"), ["state", "planned", "lane", "rank", "id"], unique=False
        )
        batch_op.create_index(
            batch_op.f("ix_tasks_state_project_id_created_by_gpus"),
            ["state", "project_id", "created_by", "gpus"],
            unique=False,
        )


def _fill_lanes() -> None:
    """Puts the tasks that are there into their lanes; none of them asks for labels."""
    connection = op.get_bind()
    tasks = sa.table("tasks", *(sa.column(name) for name in ("id", "project_id", "created_by", "requires", "gpus")))
    rows = connection.execute(sa.select(tasks)).all()
    lanes = [
        {
            "task": row.id,
            "found": json.dumps([row.gpus, 0, row.project_id, row.created_by, row.requires, ""], separators=(",", ":")),
        }
        for row in rows
    ]
    if lanes:
        connection.execute(sa.text("UPDATE tasks SET lane = :found, rank = -priority WHERE id = :task"), lanes)
