#!/bin/sh
# Starts Alertmanager with the receivers that .env names (docs/notifications.md). It reads no environment variables, and
# secrets from files only: this writes them, and the configuration, to /tmp.
set -eu
umask 077
folder=$(dirname "$0")
config=$folder/alertmanager.yml

fail() { echo "error: $*" >&2; exit 1; }

# NAME VALUE PATTERN MEANING: the same patterns as in src/services/stack/notifications.py. The value may be a secret.
check() {
  case $2 in *[[:cntrl:]]*) fail "$1 must be $4; change it in .env" ;; esac
  printf '%s\n' "$2" | grep -Eqx -- "$3" || fail "$1 must be $4; change it in .env"
}

check_url() { check "$1" "$2" 'https?://(\[[0-9A-Fa-f:]+\]|[^][:space:]/{}[])[^[:space:]{}]*' 'an http:// or https:// URL'; }

quoted() { printf "'"; printf %s "$1" | sed "s/'/''/g"; printf "'"; } # a YAML string

http_config() {
  [ -z "$ALERT_PROXY_URL" ] || printf '        http_config: { proxy_url: %s }\n' "$(quoted "$ALERT_PROXY_URL")"
}

slack() {
  check_url SLACK_WEBHOOK_URL "$SLACK_WEBHOOK_URL"
  printf %s "$SLACK_WEBHOOK_URL" > /tmp/slack-url
  cat << END
    slack_configs:
      - api_url_file: /tmp/slack-url
        send_resolved: true
        title: '{{ template "notification.title" . }}'
        title_link: '{{ .CommonAnnotations.dashboard }}'
        fallback: '{{ template "notification.title" . }}'
        text: '{{ template "notification.text" . }}'
END
  http_config
}

webhook() {
  check_url ALERT_WEBHOOK_URL "$ALERT_WEBHOOK_URL"
  printf %s "$ALERT_WEBHOOK_URL" > /tmp/webhook-url
  cat << END
    webhook_configs:
      - url_file: /tmp/webhook-url
        send_resolved: true
END
  http_config
}

email() {
  address='[^{}]+@[^{}]+'
  check ALERT_EMAIL_TO "$ALERT_EMAIL_TO" "$address" 'one or more e-mail addresses, separated by commas'
  check SMTP_FROM "$SMTP_FROM" "$address" 'an e-mail address'
  check SMTP_SMARTHOST "$SMTP_SMARTHOST" '([A-Za-z0-9._-]+|\[[0-9A-Fa-f:]+\]):[0-9]{1,5}' 'host:port, such as smtp.example.com:587'
  check SMTP_REQUIRE_TLS "$SMTP_REQUIRE_TLS" 'true|false' 'true or false'
  cat << END
    email_configs:
      - to: $(quoted "$ALERT_EMAIL_TO")
        from: $(quoted "$SMTP_FROM")
        smarthost: $(quoted "$SMTP_SMARTHOST")
        require_tls: $SMTP_REQUIRE_TLS
        send_resolved: true
        headers: { Subject: '{{ template "notification.title" . }}' }
        text: '{{ template "notification.text" . }}'
        html: ''
END
  [ -n "$SMTP_USERNAME$SMTP_PASSWORD" ] || return 0
  [ -n "$SMTP_USERNAME" ] && [ -n "$SMTP_PASSWORD" ] ||
    fail 'SMTP_USERNAME and SMTP_PASSWORD need each other; set both in .env, or neither'
  [ "$SMTP_REQUIRE_TLS" = true ] ||
    fail 'SMTP_PASSWORD would be sent unencrypted; set SMTP_REQUIRE_TLS=true in .env, or remove SMTP_USERNAME and SMTP_PASSWORD'
  printf %s "$SMTP_PASSWORD" > /tmp/smtp-password
  cat << END
        auth_username: $(quoted "$SMTP_USERNAME")
        auth_password_file: /tmp/smtp-password
END
}

printf %s "$ALERT_TOKEN" > /tmp/alert-token
if [ -n "$SLACK_WEBHOOK_URL$ALERT_EMAIL_TO$ALERT_WEBHOOK_URL" ]; then
  [ -z "$ALERT_PROXY_URL" ] || check_url ALERT_PROXY_URL "$ALERT_PROXY_URL"
  {
    cat "$config"
    [ -z "$SLACK_WEBHOOK_URL" ] || slack
    [ -z "$ALERT_EMAIL_TO" ] || email
    [ -z "$ALERT_WEBHOOK_URL" ] || webhook
    printf '\ntemplates: [%s]\n' "$(quoted "$folder/notifications.tmpl")"
  } > /tmp/alertmanager.yml
  config=/tmp/alertmanager.yml
fi
unset ALERT_TOKEN SLACK_WEBHOOK_URL ALERT_WEBHOOK_URL ALERT_PROXY_URL SMTP_PASSWORD

# With an empty cluster address it runs alone; otherwise it refuses to start without a private one.
exec /bin/alertmanager --config.file="$config" --storage.path=/alertmanager --cluster.listen-address= "$@"
