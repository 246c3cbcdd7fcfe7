{{/*
The release's name for its objects, of at most 40 characters, so that a role and a
hash fit behind it. It begins with a letter, as the name of a Service must, though a
release's may begin with a digit.
*/}}
{{- define "millrace.fullname" -}}
{{- $name := .Values.fullnameOverride | default (contains "millrace" .Release.Name | ternary .Release.Name (printf "%s-millrace" .Release.Name)) -}}
{{- if regexMatch "^[0-9]" $name -}}{{- $name = printf "millrace-%s" .Release.Name -}}{{- end -}}
{{- if and (le (len $name) 40) (not (contains "." $name)) -}}
{{ $name }}
{{- else -}}
{{ $name | replace "." "-" | trunc 31 | trimSuffix "-" }}-{{ sha256sum $name | trunc 8 }}
{{- end -}}
{{- end -}}

{{/*
The object of one source, group or derived table: dict root, role, name. Two names
never make one: names of lower-case words are spelled out, with - for _ and -- for
the dot, which cannot give ---; every other name has --- and a hash.
*/}}
{{- define "millrace.object" -}}
{{- $prefix := printf "%s-%s-" (include "millrace.fullname" .root) .role -}}
{{- $plain := printf "%s%s" $prefix (.name | replace "." "--" | replace "_" "-") -}}
{{- if and (regexMatch "^[a-z0-9]+(_[a-z0-9]+)*(\\.[a-z0-9]+(_[a-z0-9]+)*)?$" .name) (le (len $plain) 63) -}}
{{ $plain }}
{{- else -}}
{{ printf "%s%s" $prefix (.name | lower | replace "." "--" | replace "_" "-") | regexFind "^.{1,50}" | trimAll "-" }}---{{ printf "%s/%s" .role .name | sha256sum | trunc 10 }}
{{- end -}}
{{- end -}}

{{- define "millrace.selector" -}}
app.kubernetes.io/name: millrace
app.kubernetes.io/instance: {{ .root.Release.Name | trunc 63 }}
app.kubernetes.io/component: {{ .role }}
millrace/part: {{ .object }}
{{- end -}}

{{- define "millrace.labels" -}}
{{ include "millrace.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "millrace.serviceAccount" -}}
{{- $sa := index .root.Values.serviceAccounts .role -}}
{{- if $sa.create -}}
{{ $sa.name | default (printf "%s-%s" (include "millrace.fullname" .root) .role) }}
{{- else -}}
{{ $sa.name | default "default" }}
{{- end -}}
{{- end -}}

{{- define "millrace.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end -}}
{{- end -}}
