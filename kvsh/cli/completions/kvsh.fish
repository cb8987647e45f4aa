# Completion of kvsh for fish: options, commands, and live keys of the daemon.
#
# For you, in ~/.config/fish/config.fish:   kvsh --completion fish | source
# or once:                                  kvsh --completion fish >~/.config/fish/completions/kvsh.fish

function __kvsh_completion
    set -l kvsh (string replace --regex '^~(?=/)' "$HOME" -- (commandline -opc)[1])
    type --quiet --no-functions -- "$kvsh"; or set kvsh kvsh # an alias
    set -l line (commandline -cp | string collect)
    for answer in (_KVSH_COMPLETE=fish_complete COMP_LINE="$line" $kvsh 2>/dev/null </dev/null)
        set -l parts (string split \t -- $answer) # kind, text, description
        switch $parts[1]
            case file
                __kvsh_completion_path __fish_complete_path
            case dir
                __kvsh_completion_path __fish_complete_directories
            case '*'
                printf '%s\t%s\n' (string unescape -- $parts[2]) "$parts[3]"
        end
    end
end

function __kvsh_completion_path --argument-names complete
    set -l option (string match --regex '^--[^=]*=' -- (commandline -ct))
    for path in ($complete (string replace --regex '^--[^=]*=' '' -- (commandline -ct)))
        echo "$option$path"
    end
end

complete --command kvsh --no-files --keep-order --arguments '(__kvsh_completion)'
