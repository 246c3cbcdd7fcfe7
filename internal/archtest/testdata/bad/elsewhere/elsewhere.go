package elsewhere

import _ "millrace/schemas"
