{{- define "stowage.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What a selector looks for; the component is added by each. */}}
{{- define "stowage.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "stowage.labels" -}}
{{ include "stowage.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{- define "stowage.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{- define "stowage.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "stowage.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* "true" or nothing: where facts and bytes lie. */}}
{{- define "stowage.postgresql" -}}
{{- if regexMatch "^postgres(ql)?://" (dig "database" "url" "" .Values.settings | default "") -}}true{{- end -}}
{{- end -}}

{{- define "stowage.folder" -}}
{{- if eq (dig "storage" "driver" "filesystem" .Values.settings) "filesystem" -}}true{{- end -}}
{{- end -}}

{{- define "stowage.volume" -}}
{{- if or (include "stowage.folder" .) (not (include "stowage.postgresql" .)) -}}true{{- end -}}
{{- end -}}

{{/* "users" or "open": who gets in. */}}
{{- define "stowage.mode" -}}
{{- dig "auth" "mode" (ternary "open" "users" .Values.insecureOpen) .Values.settings -}}
{{- end -}}

{{/* "true" or nothing: whether people are in Stowage's own hands, and not in those of an outside token server. */}}
{{- define "stowage.users" -}}
{{- if and (eq (include "stowage.mode" .) "users") (not (dig "auth" "token" "realm" "" .Values.settings)) -}}true{{- end -}}
{{- end -}}

{{/* "true" or nothing: whether a variable is given, or may be, in a Secret that this chart does not see. */}}
{{- define "stowage.given" -}}
{{- if or .root.Values.secret.existing (hasKey .root.Values.secret.values .name) -}}true{{- end -}}
{{- range .root.Values.extraEnv -}}
{{- if eq .name $.name -}}true{{- end -}}
{{- end -}}
{{- end -}}

{{/* Where clients find the registry: as told, or by the Ingress' first host. Nothing where a trusted proxy says it. */}}
{{- define "stowage.publicUrl" -}}
{{- $http := default dict .Values.settings.http -}}
{{- if $http.public_url -}}
{{- $http.public_url -}}
{{- else if and .Values.ingress.enabled .Values.ingress.hosts (not $http.trusted_proxies) -}}
http{{ if .Values.ingress.tls }}s{{ end }}://{{ first .Values.ingress.hosts }}
{{- end -}}
{{- end -}}

{{/* The file that STOWAGE_CONFIG names. */}}
{{- define "stowage.configuration" -}}
{{- $http := dict "port" 5000 -}}
{{- with include "stowage.publicUrl" . }}{{ $_ := set $http "public_url" . }}{{ end -}}
{{- $auth := dict "mode" (include "stowage.mode" .) -}}
{{- $own := dict "http" $http "auth" $auth "operations" (dict "host" .Values.listenAddress "port" 5001) -}}
{{- mergeOverwrite (deepCopy .Values.settings) $own | toYaml -}}
{{- end -}}

{{/* What makes pods start anew when it changes. */}}
{{- define "stowage.checksums" -}}
checksum/configuration: {{ include "stowage.configuration" . | sha256sum }}
checksum/secret: {{ toJson .Values.secret.values | sha256sum }}
{{- end -}}

{{/* Environment of every container of Stowage; `dict "root" $ "suffix" ...` names the Secret that it reads. */}}
{{- define "stowage.environment" -}}
env:
  - name: STOWAGE_CONFIG
    value: /etc/stowage/stowage.yaml
  # These two the image sets, and the environment comes before the file.
  - name: STOWAGE_DATA
    value: /var/lib/stowage
  - name: STOWAGE_HTTP__HOST
    value: {{ .root.Values.listenAddress | quote }}
  {{- with .root.Values.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- if .root.Values.secret.existing }}
envFrom:
  - secretRef:
      name: {{ .root.Values.secret.existing }}
{{- else if .root.Values.secret.values }}
envFrom:
  - secretRef:
      name: {{ include "stowage.fullname" .root }}{{ .suffix }}
{{- end }}
{{- end -}}

{{- define "stowage.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* Refuses values that would lose data or not start, with the reason. */}}
{{- define "stowage.check" -}}
{{- $settings := .Values.settings -}}
{{- if or (gt (int .Values.replicas) 1) .Values.autoscaling.enabled -}}
{{- if not (include "stowage.postgresql" .) -}}
{{- fail "several replicas need PostgreSQL: SQLite is one server's. Set settings.database.url to postgresql://USER@HOST:PORT/NAME, or replicas to 1 and autoscaling.enabled to false" -}}
{{- end -}}
{{- if include "stowage.folder" . -}}
{{- fail "several replicas need a storage that they share: a folder is one server's. Set settings.storage.driver to s3 and settings.storage.s3.bucket, or replicas to 1 and autoscaling.enabled to false" -}}
{{- end -}}
{{- end -}}
{{- if and (eq (dig "storage" "driver" "filesystem" $settings) "s3") (not (dig "storage" "s3" "bucket" "" $settings)) -}}
{{- fail "settings.storage.s3.bucket must name the bucket, since settings.storage.driver is s3" -}}
{{- end -}}
{{- $secrets := list (dig "database" "password" "" $settings) (dig "storage" "s3" "secret_access_key" "" $settings) (dig "storage" "s3" "session_token" "" $settings) -}}
{{- $secrets = concat $secrets (list (dig "auth" "secret" "" $settings) (dig "auth" "ldap" "bind_password" "" $settings) (dig "auth" "oidc" "client_secret" "" $settings)) -}}
{{- if or (compact $secrets) (regexMatch "://[^/@]*:[^/@]*@|[?&]password=" (dig "database" "url" "" $settings | default "")) -}}
{{- fail "settings are kept in a ConfigMap, where everybody may read them: give secrets in secret.existing, secret.values or extraEnv, such as STOWAGE_DATABASE__PASSWORD" -}}
{{- end -}}
{{- if or (hasKey $settings "data") (hasKey $settings "operations") (hasKey (default dict $settings.http) "port") (hasKey (default dict $settings.http) "host") (dig "storage" "filesystem" "root" "" $settings) (hasPrefix "sqlite:" (dig "database" "url" "" $settings | default "")) -}}
{{- fail "the chart says where data lies and what is listened on: remove data, operations, http.host, http.port, storage.filesystem.root and database.url with sqlite: from settings" -}}
{{- end -}}
{{- if and (eq (include "stowage.mode" .) "open") (not .Values.insecureOpen) (not (dig "http" "tls" "client_ca" "" $settings)) -}}
{{- fail "settings.auth.mode is open: whoever reaches the registry could push and delete. Leave it out, and people log in; or set insecureOpen to true, or settings.http.tls.client_ca" -}}
{{- end -}}
{{- if and (eq (include "stowage.mode" .) "users") .Values.insecureOpen -}}
{{- fail "insecureOpen is for settings.auth.mode: open; remove one of the two" -}}
{{- end -}}
{{- if and (include "stowage.users" .) (include "stowage.postgresql" .) (not (include "stowage.given" (dict "root" . "name" "STOWAGE_AUTH__SECRET"))) -}}
{{- fail "people log in, and facts are in PostgreSQL: give STOWAGE_AUTH__SECRET (openssl rand -base64 33) in secret.existing, secret.values or extraEnv. It seals the keys that sign tokens, and is the same for all replicas" -}}
{{- end -}}
{{- if and (include "stowage.users" .) (not (include "stowage.volume" .)) (not (include "stowage.given" (dict "root" . "name" "STOWAGE_ADMIN_PASSWORD"))) -}}
{{- fail "give STOWAGE_ADMIN_PASSWORD, the first admin's, in secret.existing, secret.values or extraEnv: one that is made up would be in a pod that has no volume" -}}
{{- end -}}
{{- if and .Values.secret.existing .Values.secret.values -}}
{{- fail "give secret.existing or secret.values, not both" -}}
{{- end -}}
{{- if lt (int .Values.terminationGracePeriodSeconds) (add (int .Values.preStopSeconds) 35 | int) -}}
{{- fail "terminationGracePeriodSeconds must be at least preStopSeconds + 35: a server that ends answers what was asked for up to 30 seconds" -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas)) -}}
{{- fail "autoscaling.minReplicas must not be more than autoscaling.maxReplicas" -}}
{{- end -}}
{{- if and .Values.ingress.enabled (not .Values.ingress.hosts) -}}
{{- fail "ingress.hosts must name at least one host" -}}
{{- end -}}
{{- end -}}
