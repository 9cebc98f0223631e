import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Tiny tensors gain nothing from a second thread, and threads of several test processes starve each other."""
    torch.set_num_threads(1)
