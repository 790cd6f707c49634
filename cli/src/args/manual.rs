//! `towpath completions` and `towpath man`.

use std::path::PathBuf;

use clap::Args;
use clap_complete::Shell;

/// For which shell.
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  towpath completions bash > ~/.local/share/bash-completion/completions/towpath
  towpath completions zsh > ~/.zfunc/_towpath       with fpath+=~/.zfunc before compinit
  towpath completions fish > ~/.config/fish/completions/towpath.fish
")]
pub(crate) struct CompletionsArgs {
    /// bash, elvish, fish, powershell or zsh
    #[arg(hide_possible_values = true)]
    pub(crate) shell: Shell,
}

/// Which pages of the manual.
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  towpath man | man -l -
  towpath man topic create | man -l -
  towpath man --dir ~/.local/share/man/man1         then: man towpath-consume
")]
pub(crate) struct ManArgs {
    /// The command whose page to print, such as topic create [default: the program as a whole]
    #[arg(value_name = "COMMAND", conflicts_with = "dir")]
    pub(crate) command: Vec<String>,
    /// Write the pages of all commands to this folder, which is made if it is missing
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}
