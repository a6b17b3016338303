# PID 1 of the real node: in mount, network and process namespaces of its own, it makes a node of them.
# With it everything in them ends: pods, mounts, links, rules. What it reads: F, the cluster's folder, and
# MACHINE, NODE, BRIDGE, WHOLE, the addresses (tests/cluster/addresses.py).
set -eu
trap 'exit 0' TERM

mount --make-rshared /
mount -t tmpfs none /run
mount -t tmpfs none /var/log
mkdir -p /run/lock

# kubelet sets these for the whole machine, unless it finds them set.
for set in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 \
  kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
  echo "${set#*=}" >"/run/$(basename "${set%=*}")"
  mount --bind "/run/$(basename "${set%=*}")" "/proc/sys/${set%=*}"
done

ip link set lo up
until ip link show eth0 >/dev/null 2>&1; do sleep 0.05; done
ip address add "$NODE/24" dev eth0
ip link set eth0 up
ip route add default via "$MACHINE"
sysctl -qw net.ipv4.ip_forward=1
# As CNI's bridge would make it, but at once: names are answered at its address before there is a pod.
ip link add cni0 type bridge
ip address add "$BRIDGE/18" dev cni0
ip link set cni0 up

"$CONTAINERD" --config "$F/node/containerd.toml" >"$F/containerd.log" 2>&1 &
"$PYTHON" -m tests.cluster.names "$BRIDGE" "$F/keys/names.kubeconfig" >"$F/names.log" 2>&1 &
"$KUBE_PROXY" --config "$F/node/proxy.yaml" >"$F/kube-proxy.log" 2>&1 &
until [ -S "$F/containerd.sock" ]; do sleep 0.05; done
"$CTR" -a "$F/containerd.sock" -n k8s.io images import "$F/node/images.tar" >"$F/import.log" 2>&1
"$KUBELET" --config "$F/node/kubelet.yaml" --kubeconfig "$F/keys/kubelet.kubeconfig" \
  --hostname-override "$NAME" --node-ip "$NODE" --root-dir "$F/kubelet" --cert-dir "$F/kubelet/pki" \
  --node-labels "ops-test/pool=$NAME" >"$F/kubelet.log" 2>&1 &
wait
