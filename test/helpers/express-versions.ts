import express5 from 'express'
import express4 from 'express4'

/** The versions of Express that the kit supports. */
export const EXPRESS_VERSIONS = [
  { name: 'Express 5', express: express5 },
  { name: 'Express 4', express: express4 },
] as const
