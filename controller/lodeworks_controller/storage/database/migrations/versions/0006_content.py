"""The tables of log tails, collection of blobs."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Applies it."""
    with op.batch_alter_table("blob_refs", schema=None) as batch_op:
        batch_op.add_column(sa.Column("expires_at", sa.BigInteger(), nullable=True))
        batch_op.create_index(batch_op.f("ix_blob_refs_expires_at"), ["expires_at"], unique=False)
    op.create_table(
        "blobs",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("unreferenced_at", sa.BigInteger(), nullable=True),
        sa.Column("sweep_until", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_blobs")),
        sqlite_with_rowid=False,
    )
    with op.batch_alter_table("blobs", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_blobs_unreferenced_at"), ["unreferenced_at"], unique=False)
    log_key = ("task_id", "lease_epoch", "stream")
    op.create_table(
        "log_streams",
        *_log_key(),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sealed_bytes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(*log_key, name=op.f("pk_log_streams")),
    )
    op.create_table(
        "log_tails",
        *_log_key(),
        sa.Column("start_bytes", sa.BigInteger(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint(*log_key, "start_bytes", name=op.f("pk_log_tails")),
    )
    op.create_table(
        "log_parts",
        *_log_key(),
        sa.Column("start_bytes", sa.BigInteger(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint(*log_key, "start_bytes", name=op.f("pk_log_parts")),
    )
    op.create_table(
        "metric_points",
        sa.Column("task_id", sa.String(length=26), nullable=False),
        sa.Column("lease_epoch", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("point", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("task_id", "lease_epoch", "number", name=op.f("pk_metric_points")),
    )
    op.create_table(
        "object_blobs",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("pack", sa.String(length=26), nullable=False),
        sa.Column("start_bytes", sa.BigInteger(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_object_blobs")),
    )
    with op.batch_alter_table("object_blobs", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_object_blobs_pack_start_bytes"), ["pack", "start_bytes"], unique=False)
    op.create_table(
        "object_packs",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_object_packs")),
    )


def _log_key() -> list[sa.Column[str] | sa.Column[int]]:
    return [
        sa.Column("task_id", sa.String(length=26), nullable=False),
        sa.Column("lease_epoch", sa.BigInteger(), nullable=False),
        sa.Column("stream", sa.String(length=10), nullable=False),
    ]
