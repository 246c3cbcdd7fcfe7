package helpers

import _ "millrace/producers/postgres"
