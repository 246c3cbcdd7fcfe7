#!/usr/bin/env bash
# A private Apache Kafka of one broker (KRaft), for measurements and tests:
#   kafka.sh install | start | stop
# Kafka comes from Maven Central, once, into a cache. In the environment:
#   KAFKA_DIR              data, log and pid (needed by start and stop)
#   KAFKA_PORT             of clients; default 19092
#   KAFKA_CONTROLLER_PORT  default 19093
#   KAFKA_CACHE            where the jars are kept; default ~/.cache/millrace
#   KAFKA_HEAP             default 1g
set -euo pipefail

version=4.4.0
scala=2.13
log4j=2.24.3
port=${KAFKA_PORT:-19092}
controller=${KAFKA_CONTROLLER_PORT:-19093}
cache=${KAFKA_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/millrace}
libs=$cache/kafka-$version

die() {
	echo "kafka: $*" >&2
	exit 1
}

dependency() { # GROUP ARTIFACT VERSION
	echo "<dependency><groupId>$1</groupId><artifactId>$2</artifactId><version>$3</version></dependency>"
}

pom() {
	echo "<project xmlns='http://maven.apache.org/POM/4.0.0'><modelVersion>4.0.0</modelVersion>"
	echo "<groupId>millrace</groupId><artifactId>kafka</artifactId><version>1</version><packaging>pom</packaging><dependencies>"
	dependency org.apache.kafka "kafka_$scala" "$version"
	# Kafka brings slf4j 1.7, so the binding is not the one for 2.
	dependency org.apache.logging.log4j log4j-slf4j-impl "$log4j"
	dependency org.apache.logging.log4j log4j-core "$log4j"
	echo "</dependencies></project>"
}

# The jars go into a folder of their own first: a torn download is never taken
# for a whole one.
install() {
	[[ -d $libs ]] && return
	command -v mvn >/dev/null || die "mvn is missing: install the package maven"
	mkdir -p "$cache"
	local part
	part=$(mktemp -d "$cache/part.XXXXXX")
	pom >"$part/pom.xml"
	mvn -B -ntp -q -f "$part/pom.xml" org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies \
		-DincludeScope=runtime -DoutputDirectory="$part" >"$part/mvn.log" 2>&1 ||
		die "the jars did not come: $(grep -m 3 ERROR "$part/mvn.log")"
	mv -T "$part" "$libs" 2>/dev/null || [[ -d $libs ]] || die "cannot keep the jars in $libs"
}

configure() {
	cat >"$KAFKA_DIR/server.properties" <<P
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$controller
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller
advertised.listeners=PLAINTEXT://127.0.0.1:$port
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs=$KAFKA_DIR/data
offsets.topic.replication.factor=1
offsets.topic.num.partitions=5
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=5
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
P
	cat >"$KAFKA_DIR/log4j2.properties" <<'P'
rootLogger.level=INFO
rootLogger.appenderRef.o.ref=o
appender.o.type=Console
appender.o.name=o
appender.o.layout.type=PatternLayout
appender.o.layout.pattern=[%d] %p %m (%c)%n
P
}

run_java() { # OPTIONS... CLASS ARGS...
	java -cp "$libs/*" -Djava.awt.headless=true -Dlog4j2.configurationFile="$KAFKA_DIR/log4j2.properties" "$@"
}

alive() { [[ -f $KAFKA_DIR/pid ]] && grep -qsa kafka.Kafka "/proc/$(cat "$KAFKA_DIR/pid")/cmdline"; }

# answers asks for the metadata of no topic, and sees whether a broker is in it.
answers() {
	local reply
	reply=$(timeout 2 bash -c "exec 3<>/dev/tcp/127.0.0.1/$port &&
		printf '\\x00\\x00\\x00\\x0f\\x00\\x03\\x00\\x04\\x00\\x00\\x00\\x07\\xff\\xff\\x00\\x00\\x00\\x00\\x00' >&3 &&
		head -c 16 <&3 | od -An -v -tx1 | tr -d ' \\n'" 2>/dev/null) || return 1
	[[ ${reply:24:8} == 00000001 ]]
}

start() {
	install
	alive && return
	command -v java >/dev/null || die "java is missing: install the package default-jre-headless"
	mkdir -p "$KAFKA_DIR"
	configure
	if [[ ! -f $KAFKA_DIR/data/meta.properties ]]; then
		run_java -Xmx128m -XX:TieredStopAtLevel=1 kafka.tools.StorageTool format -t aGthZmthLWhrYWZrYS1oIQ \
			-c "$KAFKA_DIR/server.properties" >"$KAFKA_DIR/format.log" 2>&1 || die "format: $(tail -n 5 "$KAFKA_DIR/format.log")"
	fi
	setsid nohup java -Xms"${KAFKA_HEAP:-1g}" -Xmx"${KAFKA_HEAP:-1g}" -XX:+UseG1GC -XX:+ExitOnOutOfMemoryError -Djava.awt.headless=true \
		-Dlog4j2.configurationFile="$KAFKA_DIR/log4j2.properties" -cp "$libs/*" kafka.Kafka "$KAFKA_DIR/server.properties" \
		>"$KAFKA_DIR/log" 2>&1 </dev/null &
	echo $! >"$KAFKA_DIR/pid"
	for ((i = 0; i < 600; i++)); do
		answers && return
		kill -0 "$(cat "$KAFKA_DIR/pid")" 2>/dev/null || die "it ended: $(tail -n 15 "$KAFKA_DIR/log")"
		sleep 0.1
	done
	die "it does not answer within a minute: $(tail -n 15 "$KAFKA_DIR/log")"
}

stop() {
	alive || return 0
	local pid
	pid=$(cat "$KAFKA_DIR/pid")
	kill -TERM "$pid"
	for ((i = 0; i < 150; i++)); do
		alive || break
		sleep 0.1
	done
	alive && kill -KILL "$pid"
	rm -f "$KAFKA_DIR/pid"
}

case ${1:-} in
install) install ;;
start | stop)
	[[ -n ${KAFKA_DIR:-} ]] || die "KAFKA_DIR is not set"
	"$1"
	;;
*)
	sed -n '2,9p' "$0"
	exit 2
	;;
esac
