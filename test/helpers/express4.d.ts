/** Express 4, installed next to Express 5 under another name. For the tests the types of Express 5 are close enough. */
declare module 'express4' {
  export { default } from 'express'
}
