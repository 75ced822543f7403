# bash completion for kubectl-logstack and kubectl logstack   -*- shell-script -*-

_kubectl_logstack() {
    local line=${COMP_LINE:0:COMP_POINT} directive
    COMPREPLY=()
    {
        IFS= read -r directive || return
        mapfile -t COMPREPLY
    } < <(kubectl-logstack __completeBash -- "$2" "$line" 2>/dev/null)
    if [[ $directive == nospace ]]; then
        compopt -o nospace
    fi
    compopt +o default
}

# kubectl keeps its own completion for all but "kubectl logstack".
_kubectl_logstack_kubectl() {
    if [[ ${COMP_WORDS[1]} == logstack && $COMP_CWORD -ge 2 ]]; then
        _kubectl_logstack "$@"
    elif [[ -n ${_kubectl_logstack_previous-} ]]; then
        "$_kubectl_logstack_previous" "$@"
    fi
}

complete -F _kubectl_logstack kubectl-logstack
if [[ $(complete -p kubectl 2>/dev/null) =~ -F[[:space:]]+([^[:space:]]+) && ${BASH_REMATCH[1]} != _kubectl_logstack_kubectl ]]; then
    _kubectl_logstack_previous=${BASH_REMATCH[1]}
fi
complete -o default -F _kubectl_logstack_kubectl kubectl
