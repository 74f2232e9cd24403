import { createMultiplexer } from '../../lib/multiplexer/multiplexer.js'
import { ackSuite } from '../suites/acks.js'
import { admissionSuite } from '../suites/admission.js'
import { multiplexerSuite } from '../suites/multiplexer.js'
import { pollSuite } from '../suites/poll.js'

multiplexerSuite('memory', (options) => createMultiplexer(options))
pollSuite('memory', (options) => createMultiplexer(options))
ackSuite('memory', (options) => createMultiplexer(options), false)
admissionSuite('memory', () => undefined)
