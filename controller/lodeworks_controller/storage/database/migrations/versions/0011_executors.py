"""Executors that belong to a project, with their policies and associations."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Applies it."""
    with op.batch_alter_table("executors", schema=None) as batch_op:
        batch_op.add_column(sa.Column("project_id", sa.String(length=26), server_default="", nullable=False))
        batch_op.add_column(sa.Column("public", sa.Boolean(), server_default=sa.false(), nullable=False))
        batch_op.add_column(sa.Column("reference", sa.Text(), server_default="", nullable=False))
        batch_op.add_column(sa.Column("by_type", sa.Text(), server_default="{}", nullable=False))
        batch_op.add_column(sa.Column("policy", sa.Text(), server_default="{}", nullable=False))
        batch_op.add_column(sa.Column("mining_id", sa.String(length=26), server_default="", nullable=False))
        batch_op.add_column(sa.Column("inference_id", sa.String(length=26), server_default="", nullable=False))
