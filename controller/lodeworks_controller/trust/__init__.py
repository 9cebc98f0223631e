"""What the installation vouches for: certificates of agents, releases, desired states.

On disk, below the controller's state folder, everything 0600 in folders 0700::

    trust/ca/authority.pem, authority.key     the authority (P-256) of this installation
    trust/ca/server.pem                       certificate chain and key of the two listeners, renewed by itself
    trust/keys/<role>.pem                     Ed25519 keys: root, targets, snapshot, timestamp, desired-state
    trust/keys/tokens.key                     what the secrets of tokens are computed with
    trust/repository/metadata/, targets/      the release repository, see `trust.repository`
"""
