#!/usr/bin/env bash
# make demo, make demo-down: the whole main job for a person to look at.
#
# With root on Linux (or CLUSTER=kind, CLUSTER=current) it runs on a real
# cluster; else on the API rig, with the collector as a local process.
set -euo pipefail
cd "$(dirname "$0")/.."
CLUSTER=${CLUSTER:-bare}
OUT=${OUT:-dist}
IMAGE=${IMAGE:-ghcr.io/logstack-dev/collector:dev}
STATE=$OUT/demo
cmd=${1:-up}
started=$SECONDS

# as_typed prints a command as a person would type it.
as_typed() {
  local word line=
  for word; do
    case $word in
      *[!A-Za-z0-9_./:=-]*) line+=" '$word'" ;;
      *) line+=" $word" ;;
    esac
  done
  printf '$%s' "$line"
}
say() { printf '\n\033[1m▸ %s\033[0m\n' "$*" >&2; }
run() { printf '\033[2m%s\033[0m\n' "$(as_typed "$@")" >&2; "$@"; }
if ! [ -t 2 ] || [ -n "${NO_COLOR:-}" ]; then
  say() { printf '\n> %s\n' "$*" >&2; }
  run() { printf '%s\n' "$(as_typed "$@")" >&2; "$@"; }
fi

# CLUSTER=rig asks for the rig where a real cluster could run.
on_rig() {
  [ "$CLUSTER" = rig ] && return 0
  [ "$CLUSTER" = bare ] && { [ "$(uname -s)" != Linux ] || [ "$(id -u)" != 0 ]; }
}

kubeconfig() { CLUSTER=$CLUSTER go -C hack/cluster run . kubeconfig; }

# stop_pid FILE: end the process that this script started, and only that.
stop_pid() {
  local pid
  pid=$(cat "$1" 2>/dev/null) || return 0
  kill "$pid" 2>/dev/null || true
  for _ in $(seq 100); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
  rm -f "$1"
}

show() {
  say "the newest errors of the sample apps"
  run "$@" query '{namespace="demo"} |~ "(?i)error"' --since 10m --limit 5
  say "failed requests, out of the JSON of one app"
  run "$@" query '{namespace="demo", app="checkout"} | json | status >= 500 | line_format "{{.status}} {{.method}} {{.path}} {{.duration_ms}}ms"' --since 10m --limit 5
  say "what happened to one app: its containers' starts and ends, and Kubernetes events"
  run "$@" query '{job=~"kubernetes-lifecycle|kubernetes-events", namespace="demo", app="checkout"}' --since 10m --limit 5 || true
  say "lines per second and app"
  run "$@" query 'sum by (app) (rate({job="kubernetes-pods", namespace="demo"}[1m]))'
}

up_rig() {
  if [ "$CLUSTER" = rig ]; then
    say "the API rig (real API server, fake nodes), with the collector as a local process"
  elif [ "$(uname -s)" = Linux ]; then
    say "no root: no real cluster on this machine. Using the API rig (real API server, fake nodes) and the collector as a local process. For the real one: sudo make demo"
  else
    say "this is $(uname -s): no real cluster on this machine. Using the API rig (real API server, fake nodes) and the collector as a local process. For a real one: CLUSTER=kind make demo"
  fi
  mkdir -p "$STATE"
  down_rig
  say "building the API server (minutes the first time, then cached) and the collector"
  go -C hack/cluster build -o "$PWD/$STATE/rig" ./cmd/rig
  go build -o "$STATE/" ./cmd/collector ./cmd/kubectl-logstack
  "$STATE/rig" up --dir "$STATE/rig-state" >"$STATE/kubeconfig.path" 2>"$STATE/rig.log" &
  echo $! >"$STATE/rig.pid"
  for _ in $(seq 1200); do
    [ -s "$STATE/kubeconfig.path" ] && break
    kill -0 "$(cat "$STATE/rig.pid")" 2>/dev/null || { tail -20 "$STATE/rig.log" >&2; exit 1; }
    sleep 0.5
  done
  rm -f "$STATE/address"
  "$STATE/collector" --kubeconfig "$(sed "s/^export KUBECONFIG=//" "$STATE/kubeconfig.path" | head -1)" --data-dir "$STATE/data" --listen-address 127.0.0.1:0 \
    --address-file "$STATE/address" 2>"$STATE/collector.log" &
  echo $! >"$STATE/collector.pid"
  for _ in $(seq 100); do [ -s "$STATE/address" ] && break; sleep 0.1; done
  local addr
  addr=http://$(cat "$STATE/address")
  say "collecting for some seconds"
  for _ in $(seq 100); do
    [ "$("$STATE/kubectl-logstack" query '{job="kubernetes-pods"}' --addr "$addr" -o raw 2>/dev/null | wc -l)" -ge 20 ] && break
    sleep 0.3
  done
  say "the newest lines of the demo pods"
  run "$STATE/kubectl-logstack" query '{job="kubernetes-pods"}' --addr "$addr" --limit 10
  run "$STATE/kubectl-logstack" labels --addr "$addr"
  say "done in $((SECONDS - started)) s. Go on: $STATE/kubectl-logstack query … --addr $addr; stop: make demo-down"
}

down_rig() {
  stop_pid "$STATE/collector.pid"
  stop_pid "$STATE/rig.pid"
  rm -rf "$STATE/data" "$STATE/rig-state" "$STATE/kubeconfig.path"
}

up_cluster() {
  mkdir -p "$OUT"
  local arch
  arch=$(go env GOARCH)
  [ "$arch" = arm ] && arch=arm/v7
  say "building the plugin and the collector's image"
  CGO_ENABLED=0 go build -trimpath -o "$OUT/kubectl-logstack" ./cmd/kubectl-logstack
  if [ "$CLUSTER" = current ]; then
    if "$OUT/kubectl-logstack" status >/dev/null 2>&1; then
      echo "a stack is installed in this cluster already: the demo would change it, and demo-down remove it" >&2
      exit 1
    fi
    say "CLUSTER=current: the nodes have to be able to pull $IMAGE (IMAGE=… names another one)"
  else
    go run ./hack/image -o "$OUT/collector-$(go env GOARCH).tar" -platforms "linux/$arch" -tag "$IMAGE"
  fi
  say "a cluster (CLUSTER=$CLUSTER)"
  CLUSTER=$CLUSTER go -C hack/cluster run . up >/dev/null
  KUBECONFIG=$(kubeconfig)
  export KUBECONFIG
  [ "$CLUSTER" = current ] || CLUSTER=$CLUSTER go -C hack/cluster run . load "$PWD/$OUT/collector-$(go env GOARCH).tar"
  say "installing"
  run "$OUT/kubectl-logstack" install --image "$IMAGE"
  say "sample apps that log"
  CLUSTER=$CLUSTER go -C hack/cluster run . apply "$PWD/hack/cluster/samples" >&2
  for _ in $(seq 60); do
    [ "$("$OUT/kubectl-logstack" query '{namespace="demo"}' --since 5m --limit 100 -o raw 2>/dev/null | wc -l)" -ge 100 ] && break
    sleep 0.5
  done
  show "$OUT/kubectl-logstack"
  say "done in $((SECONDS - started)) s. Go on:
    export KUBECONFIG=$KUBECONFIG PATH=$PWD/$OUT:\$PATH
    kubectl logstack logs deploy/checkout -n demo -f
    kubectl logstack doctor
  stop: make demo-down"
}

down_cluster() {
  if [ "$CLUSTER" = current ]; then
    kubectl delete -f hack/cluster/samples/demo.yaml --ignore-not-found
    go run ./cmd/kubectl-logstack uninstall --purge
  else
    CLUSTER=$CLUSTER go -C hack/cluster run . down
  fi
}

where=cluster
on_rig && where=rig
case $cmd in
  up|down) "${cmd}_$where" ;;
  *) echo "usage: $0 up|down" >&2; exit 2 ;;
esac
