#compdef kubectl-logstack
# zsh completion for kubectl-logstack and kubectl logstack   -*- shell-script -*-

# The argument is the number of words that name the program.
_kubectl_logstack() {
    local first=${1:-1} directive last flag=
    local -a answer
    if [[ $PREFIX == -*=* ]]; then
        flag=${PREFIX%%=*}=
        PREFIX=${PREFIX#*=} IPREFIX+=$flag
    fi
    # Between single quotes the prefix is what it is, else it may have escapes.
    last=${(Q)PREFIX}
    [[ $QIPREFIX == *\' ]] && last=$PREFIX
    answer=("${(@f)$(kubectl-logstack __completeNoDesc "${(@Q)words[first+1,CURRENT-1]}" "$flag$last" 2>/dev/null)}")
    directive=${answer[-1]#:}
    answer[-1]=()
    (( ${#answer} && ! (directive & 1) )) || return 1
    if (( directive & 2 )); then
        compadd -S '' -- "${(@)answer}"
    else
        compadd -- "${(@)answer}"
    fi
}

# kubectl keeps its own completion for all but "kubectl logstack".
_kubectl_logstack_kubectl() {
    if [[ $words[2] == logstack ]] && (( CURRENT > 2 )); then
        _kubectl_logstack 2
    elif [[ -n $_kubectl_logstack_previous ]]; then
        $_kubectl_logstack_previous "$@"
    else
        _files
    fi
}

_kubectl_logstack_own() { _kubectl_logstack 1 }

if (( ! $+functions[compdef] )); then
    autoload -Uz compinit && compinit
fi
if [[ -n ${_comps[kubectl]-} && $_comps[kubectl] != _kubectl_logstack_kubectl ]]; then
    _kubectl_logstack_previous=$_comps[kubectl]
fi
compdef _kubectl_logstack_own kubectl-logstack
compdef _kubectl_logstack_kubectl kubectl
