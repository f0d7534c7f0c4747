#!/bin/bash
# Records real.pcap: the traffic of real programs between two network namespaces, a client and a
# server, which this script makes, and removes again however it ends.
#
#     sudo examples/record.sh [FILE]
#
# Every frame is recorded as it was on the wire: the offloads are off, so no frame is larger than
# the MTU allows and every checksum is in place. The times are nanoseconds.
set -euo pipefail

here=$(realpath "$(dirname "$0")")
output=$(realpath -m "${1:-$here/real.pcap}")
client=ixy-client-$$
server=ixy-server-$$
work=
made_run_sshd=
children=()

complain() {
    echo "record.sh: $*" >&2
    exit 1
}

clean_up() {
    for pid in "${children[@]}"; do
        kill "$pid" 2>/dev/null || true
    done
    wait
    ip netns del "$client" 2>/dev/null || true
    ip netns del "$server" 2>/dev/null || true
    [ -z "$work" ] || rm -rf "$work"
    [ -z "$made_run_sshd" ] || rmdir /run/sshd 2>/dev/null || true
}

in_client() { ip netns exec "$client" "$@"; }
in_server() { ip netns exec "$server" "$@"; }

# Runs a server program in the background, so that clean_up finds it: `ip netns exec` becomes the
# program, its process id stays.
start_in_server() {
    local log=$1
    shift
    ip netns exec "$server" "$@" >"$work/$log" 2>&1 &
    children+=($!)
}

# Waits until a command succeeds, 5 seconds at most.
until_works() {
    for _ in $(seq 100); do
        "$@" >/dev/null 2>&1 && return
        sleep 0.05
    done
    cat "$work"/*.log >&2
    complain "still failing after 5 seconds: $*"
}

listens() { [ -n "$(in_server ss -Hln "sport = :$1")" ]; }
no_tentative_address() { [ -z "$(ip -n "$1" -6 addr show tentative)" ]; }

check_tools() {
    [ "$(id -u)" = 0 ] || complain "making network namespaces needs root: sudo $0"
    local missing=()
    for tool in tcpdump ethtool ping dig dnsmasq curl ssh /usr/sbin/sshd python3; do
        command -v "$tool" >/dev/null || missing+=("$tool")
    done
    [ ${#missing[@]} = 0 ] || complain "missing: ${missing[*]}; apt install tcpdump ethtool" \
        "iputils-ping bind9-dnsutils dnsmasq-base curl openssh-client openssh-server python3"
}

# VLAN 42 as a sub-interface: Linux's own, or one in user space where Linux has none.
add_vlan() {
    local namespace=$1 number=$2
    if ! ip -n "$namespace" link add link wire name wire.42 type vlan id 42 2>/dev/null; then
        echo "no 8021q in this kernel: tag_vlan.py does its work"
        ip netns exec "$namespace" python3 "$here/tag_vlan.py" wire wire.42 42 &
        children+=($!)
        until_works ip -n "$namespace" link show wire.42
        ip -n "$namespace" link set wire.42 address "02:00:00:00:00:0$number"
    fi
    ip -n "$namespace" addr add "198.51.100.$number/24" dev wire.42
    ip -n "$namespace" link set wire.42 up
}

# One end of the cable: fixed addresses, no offloads.
set_up_end() {
    local namespace=$1 number=$2
    ip -n "$namespace" link set wire address "02:00:00:00:00:0$number"
    ip netns exec "$namespace" ethtool -K wire \
        rx off tx off sg off tso off gso off gro off txvlan off rxvlan off >/dev/null 2>&1
    ip -n "$namespace" addr add "192.0.2.$number/24" dev wire
    ip -n "$namespace" addr add "2001:db8::$number/64" dev wire
    ip -n "$namespace" link set lo up
    ip -n "$namespace" link set wire up
}

set_up_namespaces() {
    ip netns add "$client"
    ip netns add "$server"
    ip link add wire netns "$client" type veth peer name wire netns "$server"
    set_up_end "$client" 1
    set_up_end "$server" 2
    add_vlan "$client" 1
    add_vlan "$server" 2
}

start_tcpdump() {
    ip netns exec "$client" tcpdump -i wire -s 0 --time-stamp-precision nano --immediate-mode \
        -Z root -w "$work/real.pcap" 2>"$work/tcpdump.log" &
    tcpdump=$!
    children+=("$tcpdump")
    until_works grep -q "listening on" "$work/tcpdump.log"
}

stop_tcpdump() {
    sleep 0.3 # the last frames are still on their way to tcpdump
    kill -TERM "$tcpdump"
    wait "$tcpdump"
    grep -q "^0 packets dropped by kernel" "$work/tcpdump.log" ||
        complain "tcpdump lost frames: $(tail -n 1 "$work/tcpdump.log")"
}

start_servers() {
    start_in_server dns.log dnsmasq --keep-in-foreground --conf-file=/dev/null --no-resolv \
        --no-hosts --user=root --pid-file= --local=/example/ \
        --host-record=www.example,192.0.2.2,2001:db8::2

    mkdir "$work/www"
    {
        echo "<!doctype html><title>Real packets</title><ol>"
        seq -f "<li>Line %g of a page that takes many segments to send.</li>" 500
        echo "</ol>"
    } >"$work/www/index.html"
    start_in_server http.log python3 -m http.server --directory "$work/www" --bind 192.0.2.2 80

    ssh-keygen -q -t ed25519 -N "" -C "" -f "$work/host_key"
    ssh-keygen -q -t ed25519 -N "" -C "" -f "$work/user_key"
    [ -d /run/sshd ] || { mkdir /run/sshd && made_run_sshd=yes; }
    start_in_server ssh.log /usr/sbin/sshd -D -e -f /dev/null -o ListenAddress=192.0.2.2 \
        -o HostKey="$work/host_key" -o AuthorizedKeysFile="$work/user_key.pub" \
        -o StrictModes=no -o PermitRootLogin=yes -o UsePAM=yes -o PidFile=none
    echo "192.0.2.2 $(cat "$work/host_key.pub")" >"$work/known_hosts"

    until_works listens 53
    until_works listens 80
    until_works listens 22
}

# What the capture shows. Each line is a real program; all must succeed.
talk() {
    in_client ping -c 4 -i 0.2 192.0.2.2 # begins with ARP
    in_client ping -6 -c 4 -i 0.2 2001:db8::2 # begins with neighbour discovery
    in_client ping -c 2 -i 0.2 -s 4000 192.0.2.2 # three fragments each way
    in_client ping -6 -c 2 -i 0.2 -s 4000 2001:db8::2
    in_client ping -c 1 -M "do" -s 1472 192.0.2.2 # exactly the MTU: 1514 bytes

    in_client dig @192.0.2.2 www.example A
    in_client dig @192.0.2.2 www.example AAAA
    in_client dig @192.0.2.2 nowhere.example A | grep NXDOMAIN
    in_client dig @192.0.2.2 +tcp www.example A

    in_client curl --silent --show-error --fail http://192.0.2.2/ | cmp - "$work/www/index.html"

    in_client ssh -F none -i "$work/user_key" -o UserKnownHostsFile="$work/known_hosts" \
        -o BatchMode=yes root@192.0.2.2 echo "hello from the other side"

    in_client ping -c 3 -i 0.2 198.51.100.2 # in VLAN 42, its ARP too
    in_client ping -c 1 -M "do" -s 1472 198.51.100.2 # 1518 bytes, tag included
}

check_tools
trap clean_up EXIT
trap 'exit 1' INT TERM
work=$(mktemp -d)
set_up_namespaces
until_works no_tentative_address "$client" # IPv6 first makes sure that nobody else has them
until_works no_tentative_address "$server"
start_servers
start_tcpdump
talk >"$work/talk.log"
stop_tcpdump
cp "$work/real.pcap" "$output"
echo "$output: $(tcpdump -r "$output" 2>/dev/null | wc -l) frames, $(stat -c %s "$output") bytes"
