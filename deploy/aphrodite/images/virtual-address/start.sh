#!/bin/sh
# Writes keepalived's configuration from the environment, as it reads no variable itself, and runs it.
#
# VIRTUAL_ADDRESS (10.0.0.10/24), INTERFACE, THIS_ADDRESS and OTHER_ADDRESS (of the two machines), PRIORITY (the higher
# one has the address), ROUTER_ID (the same on both, no other's in this network).
set -eu
umask 077
cat > /run/keepalived.conf <<CONF
global_defs {
    enable_script_security
    script_user root
    vrrp_garp_master_refresh 60
}
vrrp_script gateway {
    script "/usr/bin/wget -q -T 2 -O /dev/null http://127.0.0.1:8404/ready"
    interval 2
    timeout 3
    fall 2
    rise 2
}
vrrp_instance gateways {
    state BACKUP
    interface ${INTERFACE:?}
    virtual_router_id ${ROUTER_ID:-51}
    priority ${PRIORITY:?}
    advert_int 1
    unicast_src_ip ${THIS_ADDRESS:?}
    unicast_peer {
        ${OTHER_ADDRESS:?}
    }
    virtual_ipaddress {
        ${VIRTUAL_ADDRESS:?} dev ${INTERFACE}
    }
    track_script {
        gateway
    }
}
CONF
keepalived --config-test --use-file /run/keepalived.conf
exec keepalived --dont-fork --log-console --vrrp --use-file /run/keepalived.conf --pid /run/keepalived.pid --vrrp_pid /run/vrrp.pid
