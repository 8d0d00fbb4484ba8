"""Puts the files of nvmeof-ha where ceph-mgr and systemd look for them. Standard library only."""
