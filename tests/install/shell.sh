# Sourced before the commands of a document: what stands in for programs that would need a real cluster, and makes a failed call
# a failed command.

curl() { command curl --silent --show-error --fail-with-body --noproxy '*' "$@"; }

# A pause is for people.
sleep() { :; }

kubectl() {
    case "$1 $2" in
    # It would send Protocol Buffers, which the cluster of the tests does not read.
    create\ secret) command kubectl "$@" --dry-run=client -o json | command kubectl create --validate=false -f - ;;
    # The cluster validates, and has no OpenAPI document.
    apply\ *) command kubectl "$@" --validate=false ;;
    # Nothing runs in the cluster: the pod is a process, and listens here.
    port-forward\ *) command kubectl get "$2" -o name ;;
    rollout\ status) command kubectl get "$3" -o name ;;
    *) command kubectl "$@" ;;
    esac
}

# A release as Helm would create it. Helm keeps its own notes as Protocol Buffers.
helm() {
    [ "$1" = install ]
    command helm lint --strict "${@:3}" >&2
    command helm template "${@:2}" | command kubectl apply --validate=false -f -
}
