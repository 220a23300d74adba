"""What is taken for a secret, and what is not."""

import time

import pytest

from vbench.schema.secrets import is_secret_name, list_values, redact, redact_plain


@pytest.mark.parametrize(
    "name",
    ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "--api-key", "api_key", "X-Api-Key", "AWS_SECRET_ACCESS_KEY", "SSH_KEY",
     "AWS_ACCESS_KEY_ID", "DB_PASSWORD", "Authorization", "GOOGLE_APPLICATION_CREDENTIALS", "SITE_AUTH",
     "PROXY_PASS"],
)  # fmt: skip
def test_a_name_of_a_secret(name):
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name",
    ["TOKENIZERS_PARALLELISM", "--tokenizer", "bos_token_id", "eos_token", "--max-num-batched-tokens", "run_key",
     "VLLM_MAX_TOKENS_PER_EXPERT", "num_key_value_heads", "api_key_env", "HF_TOKEN_PATH", "--ssl-keyfile", "key",
     "encoder_cudagraph_token_budgets", "engine.env_from", "pass_config", "--bypass", ""],
)  # fmt: skip
def test_a_name_of_no_secret(name):
    assert not is_secret_name(name)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("engine.env.HF_TOKEN=abc", "engine.env.HF_TOKEN=***"),
        ("serve --api-key abc --port 1", "serve --api-key *** --port 1"),
        ("args: {'api_key': ['abcDEF12'], 'model': 'x'}", "args: {'api_key': ['***'], 'model': 'x'}"),
        ("['--api-key', 'abc']", "['--api-key', '***']"),
        ("extra_args=[--api-key,abc]", "extra_args=[--api-key,***]"),
        ("http://user:pass@host/v1?key=abc&a=1", "http://***@host/v1?key=***&a=1"),
        ("http://host/v1?token=abc", "http://host/v1?token=***"),
        (
            "API request to http://me:p@55@word@mlflow:5000/api failed",
            "API request to http://***@mlflow:5000/api failed",
        ),
        ("Authorization: Bearer abc123", "Authorization: *** ***"),
        ("curl -H x: Basic dXNlcjpwYXNz", "curl -H x: Basic ***"),
        ("Authorization: Token 0a1b2c3d4e", "Authorization: *** ***"),
        ("{'authorization': 'ApiKey 0a1b2c3d4e'}", "{'authorization': '***'}"),
        (
            "ValueError: tokenizer: HF_TOKEN=abc of {API_KEY: ab1}",
            "ValueError: tokenizer: HF_TOKEN=*** of {API_KEY: ***}",
        ),
        ("x-api-key: 12ab", "x-api-key: ***"),
        ("PASSWORD=correcthorse", "PASSWORD=***"),
        ("it says sk-Abcdef0123, glpat-A1b2c3d4e5 and hf_AbCdEfGhIj", "it says ***, *** and ***"),
        ("AKIAIOSFODNN7EXAMPLE ghp_0123456789abcdef xoxb-123-Abc", "*** *** ***"),
    ],
)
def test_a_secret_is_masked(text, shown):
    assert redact(text, ()) == shown


@pytest.mark.parametrize(
    "text",
    ["--max-num-batched-tokens 2048", "tokenizer='abc', tokenizer_mode=auto", "eos_token='</s>' bos_token: <s>",
     "unexpected token: foo", "hf_overrides={}", "--hf-token --port 1", "export HF_TOKEN=$(cat file)",
     "see https://host/a@b", "http://host:1, ask me@host", "Bearer authentication required", "task-12 disk-A2",
     "git@host:repo https://host", "sqlite:///mlruns/mlflow.db",
     "run_key: 0123456789abcdef", "num_key_value_heads=8"],
)  # fmt: skip
def test_what_only_looks_like_one_stays(text):
    assert redact(text, ()) == text


HELD = "qR7tWz9LmXp2"  # in each of these
COMMANDS = (
    "curl -u me:@ https://host", "curl -ume:@ host", "curl -fsSLu 'me:@' host", "curl --user me:@ host",
    'curl --user="me:a @" host', "curl -U me:@ host", "curl --proxy-user me:@ host", "curl me:@@host/x",
    "curl -x me:@@proxy:80 host", "['curl', '-u', 'me:@']", "curl -H 'Authorization: @' host",
    "curl -H 'Authorization: Bearer @' host", r"curl --header=Authorization:\ Token\ @ host",
    "curl -H 'X-Api-Key: @' host", "curl -H 'Cookie: a=1; b=@' host", "curl -b session=@ host",
    "curl --cookie session=@ host", "curl --oauth2-bearer @ host", "curl -d 'password=@&a=1' host",
    "wget --password=@ host", "wget --http-passwd @ host", "wget --password 'a @' host", "http -a me:@ host",
    "export TOKEN=@", "export HF_TOKEN='a @'", 'TOKEN="a @"', "export PGPASSWORD=@", "export MYSQL_PWD=@",
    "export SSHPASS=@", "export HFTOKEN=@", "npm config set //host/:_authToken=@", "setenv HF_TOKEN @",
    "set -gx HF_TOKEN @", "aws configure set aws_session_token @", "read -r TOKEN <<< @", "tool --token @",
    "hf auth login --token @", "wandb login @", "wandb login --relogin @", "docker login -u me -p @ host",
    "apptainer remote login -u me -p @ docker://host", "echo @ | docker login --password-stdin",
    "docker login --password-stdin <<< @", "echo '@' | sudo -S mount x", "mysql -u root -p@ db",
    "sshpass -p @ ssh host",
    "sshpass -p@ ssh host", "smbclient //host/s -U me%@", "lftp -u me,@ host", "openssl enc -k @",
    "ssh://me:@@host/path", "git clone https://@@host/x", "export http_proxy=http://me:@@proxy:80",
)  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_a_secret_in_a_command_is_masked(command):
    shown = redact(command.replace("@", HELD, 1), ())
    assert HELD not in shown
    assert "***" in shown
    assert redact(shown, ()) == shown


@pytest.mark.parametrize(
    "command",
    ["docker run -u 1000:1000 image", "docker run -u me:staff image", "chown -R me:staff x",
     "rsync -au here host:there",
     "ps -u root", "ssh -p 2222 host", "mkdir -p login", "date -u +%H:%M", "module load cuda", "curl -u me https://host",
     'curl -u "$USER:$PW" host', 'curl --user "$(cat f)" host', 'curl -H "Authorization: Bearer $TOKEN" host',
     "curl -H 'Content-Type: application/json' host", "wget --password=$PW host", 'docker login -u me -p "$PW" host',
     "wandb login", "wandb login $KEY", "export PATH=$PATH:/opt", "cat f | docker login --password-stdin",
     "echo $PW | docker login --password-stdin", "set -e", "export OLDPWD=/home", "read -r TOKEN <<< $(cat f)",
     "mysql -u root -p db", "curl https://host/a@b"],
)  # fmt: skip
def test_a_command_without_a_secret_stays(command):
    assert redact(command, ()) == command


def test_the_value_of_a_secret_variable_is_masked_wherever_it_stands(monkeypatch):
    monkeypatch.setenv("SITE_TOKEN", "planted-in-the-environment")
    assert redact("it refused planted-in-the-environment!") == "it refused ***!"


def test_plain_data_is_masked_under_secret_names_and_after_secret_arguments():
    data = {"env": {"HF_TOKEN": "abc", "N": "8"}, "args": ["--api-key", "abc", "--seed", "7"], "n": 3, "t": None}
    masked = {"env": {"HF_TOKEN": "***", "N": "8"}, "args": ["--api-key", "***", "--seed", "7"], "n": 3, "t": None}
    assert redact_plain(data, ()) == masked
    assert redact_plain(masked, ()) == masked


@pytest.mark.parametrize(
    "part",
    [
        "a",
        "Ab1",
        "key ",
        "hf_",
        "token=",
        "-",
        "a-",
        "bearer ",
        "'",
        " ",
        "://",
        "?a=",
        "eyJ.",
        "curl -u a:",
        "echo ",
        "echo a|",
        "-stdin ",
        "-stdin <",
        "login -p ",
        "cookie: ",
        "token='",
        "<<<",
    ],
)
def test_a_long_line_of_a_log_takes_no_time(part):
    line = f"key:{part * (60_000 // len(part))} key"
    began = time.process_time()
    redact(line, ())
    assert time.process_time() - began < 2.0


def test_a_secret_of_several_lines_is_masked_in_each_of_them():
    """As a key in a variable is: logs are written line by line."""
    key = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0\nBAQEFAASCBKcwggSjAgEAAo\n-----END PRIVATE KEY-----\n"
    values = list_values({"DEPLOY_KEY": key})
    printed = f"DEPLOY_KEY={key}PATH=/bin"
    assert [redact(line, values) for line in printed.split("\n")] == [
        "DEPLOY_KEY=***",
        "***",
        "***",
        "***",
        "PATH=/bin",
    ]
    assert redact(repr({"x": key}), values) == repr({"x": "***\n" * 4})
