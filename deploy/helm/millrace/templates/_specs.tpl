{{/*
Every file of specs by its path in the folder: those of the chart's folder specs/
and those in the values.
*/}}
{{- define "millrace.specFiles" -}}
{{- $files := dict -}}
{{- range $path, $bytes := .Files.Glob "specs/**.{yaml,yml,sql}" -}}
{{- if not (regexMatch "^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*$" (trimPrefix "specs/" $path)) -}}
{{- fail (printf "specs: %s: a ConfigMap's key takes letters, digits, -, _ and . alone: rename the file" (trimPrefix "specs/" $path)) -}}
{{- end -}}
{{- $_ := set $files (trimPrefix "specs/" $path) (toString $bytes) -}}
{{- end -}}
{{- range $path, $text := .Values.derived.specs -}}
{{- if hasKey $files $path -}}
{{- fail (printf "derived.specs: %s is in the chart's folder specs/ too: keep one of the two" $path) -}}
{{- end -}}
{{- $_ := set $files $path $text -}}
{{- end -}}
{{ toJson $files }}
{{- end -}}

{{/* The key of a ConfigMap for a path: keys take no slash. */}}
{{- define "millrace.specKey" -}}
{{ replace "/" "__" . }}
{{- end -}}

{{/*
What the files define: dict keys (text by key of a ConfigMap) and tables (a list of
table, object, file, pod and sum, by file). The sum is of the spec and of the SQL
beside it, and of nothing else, so that another spec's change restarts nothing here.
*/}}
{{- define "millrace.specs" -}}
{{- $root := . -}}
{{- $files := include "millrace.specFiles" . | fromJson -}}
{{- $keys := dict -}}
{{- $tables := list -}}
{{- $seen := dict -}}
{{- $paths := dict -}}
{{- range $path, $text := $files -}}
{{- $key := include "millrace.specKey" $path -}}
{{- if hasKey $paths $key -}}
{{- fail (printf "derived.specs: %s and %s are one key of a ConfigMap: rename one" (index $paths $key) $path) -}}
{{- end -}}
{{- $_ := set $paths $key $path -}}
{{- $_ := set $keys $key $text -}}
{{- if hasSuffix ".sql" $path | not -}}
{{- $spec := fromYaml $text -}}
{{- if hasKey $spec "Error" -}}
{{- fail (printf "derived.specs: %s is not YAML: %s" $path $spec.Error) -}}
{{- end -}}
{{- $name := $spec.name | default "" | toString -}}
{{- if and $spec.dataset (not (contains "." $name)) -}}
{{- $name = printf "%s.%s" $spec.dataset $name -}}
{{- end -}}
{{- if not (regexMatch "^[A-Za-z_][A-Za-z0-9_]*\\.[A-Za-z_][A-Za-z0-9_]*$" $name) -}}
{{- fail (printf "derived.specs: %s: name %q is not dataset.table" $path $name) -}}
{{- end -}}
{{- if hasKey $seen $name -}}
{{- fail (printf "derived.specs: %s and %s both define %s: remove one" (index $seen $name) $path $name) -}}
{{- end -}}
{{- $_ := set $seen $name $path -}}
{{- $pod := $spec.pod | default dict -}}
{{- if not (kindIs "map" $pod) -}}
{{- fail (printf "derived.specs: %s: pod is not a list of fields: write pod: {cpu: 500m, memory: 1Gi}" $path) -}}
{{- end -}}
{{- if and (hasKey $pod "cpu") (not (regexMatch "^([0-9]{1,6}m|[0-9]{1,4}(\\.[0-9]{1,3})?)$" (toString $pod.cpu))) -}}
{{- fail (printf "derived.specs: %s: pod.cpu is %v: write cores as 2 or 0.5, or thousandths of one as 500m" $path $pod.cpu) -}}
{{- end -}}
{{- if and (hasKey $pod "memory") (not (regexMatch "^[0-9]{1,6}(\\.[0-9]{1,3})?(Ki|Mi|Gi|Ti|M|G|T)$" (toString $pod.memory))) -}}
{{- fail (printf "derived.specs: %s: pod.memory is %v: write it as 512Mi or 2Gi" $path $pod.memory) -}}
{{- end -}}
{{- $sum := $text -}}
{{- $query := $spec.query | default "" | toString | trim -}}
{{- if regexMatch "^\\S+\\.sql$" $query -}}
{{- $sql := printf "%s/%s" (dir $path) $query | clean -}}
{{- if not (hasKey $files $sql) -}}
{{- fail (printf "derived.specs: %s: its query %s is not among the files: add it beside the spec" $path $query) -}}
{{- end -}}
{{- $sum = printf "%s\n%s" $text (index $files $sql) -}}
{{- $key2 := include "millrace.specKey" $sql -}}
{{- if ne $key2 $query -}}
{{- $line := printf "(?m)^query:[ \\t]*[\"']?%s[\"']?[ \\t]*(#.*)?\\r?$" (regexQuoteMeta $query) -}}
{{- if not (regexMatch $line $text) -}}
{{- fail (printf "derived.specs: %s: write query: %s on a line of its own: below a folder the chart renames the file" $path $query) -}}
{{- end -}}
{{- $_ := set $keys $key (regexReplaceAllLiteral $line $text (printf "query: %s" $key2)) -}}
{{- end -}}
{{- end -}}
{{- $tables = append $tables (dict "table" $name "file" $path "pod" ($spec.pod | default dict) "sum" (sha256sum $sum)
  "object" (include "millrace.object" (dict "root" $root "role" "derive" "name" $name))) -}}
{{- end -}}
{{- end -}}
{{ dict "keys" $keys "tables" $tables | toJson }}
{{- end -}}

{{/* The number of the ConfigMap that holds a key. */}}
{{- define "millrace.specShard" -}}
{{- $digits := .key | adler32sum | int64 -}}
{{ mod $digits (int64 .root.Values.derived.configMaps) }}
{{- end -}}
