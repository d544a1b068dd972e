'use strict';

module.exports = 'hello from node';
