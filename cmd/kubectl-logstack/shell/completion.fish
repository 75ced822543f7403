# fish completion for kubectl-logstack and kubectl logstack   -*- shell-script -*-

# The argument is the number of words that name the program.
function __kubectl_logstack_complete
    set -l words (commandline -opc)
    set -l answer (kubectl-logstack __complete $words[(math $argv[1] + 1)..] (commandline -ct) 2>/dev/null)
    test (count $answer) -ge 2; or return 1
    set -l directive (string replace : '' -- $answer[-1])
    set -e answer[-1]
    test (math "bitand($directive, 1)") -eq 0; or return 1
    printf '%s\n' $answer
    # fish ends the word behind a single candidate, although it goes on. Of two
    # it takes what they have in common.
    if test (count $answer) -eq 1 -a (math "bitand($directive, 2)") -ne 0
        printf '%s…\n' (string split -f 1 \t -- $answer)
    end
end

function __kubectl_logstack_behind_kubectl
    set -l words (commandline -opc)
    test (count $words) -ge 2; and test $words[2] = logstack
end

complete -c kubectl-logstack -e
complete -c kubectl-logstack -f -k -a '(__kubectl_logstack_complete 1)'
# kubectl keeps its own completion for all but "kubectl logstack".
complete -c kubectl -f -k -n __kubectl_logstack_behind_kubectl -a '(__kubectl_logstack_complete 2)'
